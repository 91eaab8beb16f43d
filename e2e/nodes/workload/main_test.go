package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type record struct {
	Time            time.Time
	Msg, Address    string
	Tries, Failures int
}

func decode(t *testing.T, log string) []record {
	t.Helper()
	var records []record
	for line := range strings.Lines(log) {
		var r record
		if err := json.Unmarshal([]byte(line), &r); err != nil {
			t.Fatalf("line %q is not JSON: %v", line, err)
		}
		records = append(records, r)
	}
	return records
}

func messages(records []record) []string {
	var all []string
	for _, r := range records {
		all = append(all, r.Msg)
	}
	return all
}

func TestAWrongCommandLineIsExplained(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		want string
	}{
		"No mode":              {nil, "usage: workload MODE"},
		"An unknown mode":      {[]string{"dance"}, "usage: workload MODE"},
		"An unknown flag":      {[]string{"sleep", "--loudly"}, "-loudly"},
		"More than is allowed": {[]string{"sleep", "well"}, `unexpected argument "well"`},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stderr bytes.Buffer
			if code := run(t.Context(), test.args, io.Discard, &stderr); code != 2 || !strings.Contains(stderr.String(), test.want) {
				t.Errorf("code %d, stderr %q, want 2 and %q", code, &stderr, test.want)
			}
		})
	}
}

func TestAModeThatCannotWorkEndsInAnError(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"A client without a URL":      {"fetch"},
		"A resolver without a name":   {"lookup"},
		"A journal without a folder":  {"keep", "--dir", filepath.Join(t.TempDir(), "missing")},
		"A server without an address": {"serve", "--listen", "nonsense"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout bytes.Buffer
			if code := run(t.Context(), args, &stdout, io.Discard); code != 1 {
				t.Errorf("code = %d, want 1", code)
			}
			if got := messages(decode(t, stdout.String())); !cmp.Equal(got, []string{"Broke"}) {
				t.Errorf("log = %q, want one line that says why", &stdout)
			}
		})
	}
}

func TestASleeperTakesAsLongToEndAsItWasAsked(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		var stdout bytes.Buffer
		if code := run(ctx, []string{"sleep", "--linger", "7s"}, &stdout, io.Discard); code != 0 {
			t.Fatalf("code = %d, log %q", code, &stdout)
		}
		records := decode(t, stdout.String())
		if diff := cmp.Diff([]string{"Started", "Was told to stop", "Ended"}, messages(records)); diff != "" {
			t.Fatalf("log (-want +got):\n%s", diff)
		}
		if took := records[2].Time.Sub(records[1].Time); took != 7*time.Second {
			t.Errorf("it took %s to end, want 7s", took)
		}
	})
}

func TestAJournalIsWholeWhenItsKeeperHasEnded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		dir := t.TempDir()
		ctx, cancel := context.WithTimeout(t.Context(), 2500*time.Millisecond)
		defer cancel()
		var stdout bytes.Buffer
		if code := run(ctx, []string{"keep", "--dir", dir, "--linger", "3s"}, &stdout, io.Discard); code != 0 {
			t.Fatalf("code = %d, log %q", code, &stdout)
		}
		if got, want := messages(decode(t, stdout.String())), []string{"Started", "Was told to stop", "Ended"}; !cmp.Equal(got, want) {
			t.Errorf("log = %q, want %q", got, want)
		}
		journal, err := os.ReadFile(filepath.Join(dir, "journal"))
		if err != nil || string(journal) != "1\n2\n3\n" {
			t.Errorf("journal = %q, %v, want three entries", journal, err)
		}
	})
}

// follow runs the program and returns its log line by line, and its code at the end.
func follow(ctx context.Context, args ...string) (*json.Decoder, <-chan int) {
	reader, writer := io.Pipe()
	code := make(chan int, 1)
	go func() {
		code <- run(ctx, args, writer, io.Discard)
		_ = writer.Close()
	}()
	return json.NewDecoder(reader), code
}

// next reads the log until a message comes.
func next(t *testing.T, log *json.Decoder, message string) record {
	t.Helper()
	for {
		var r record
		if err := log.Decode(&r); err != nil {
			t.Fatalf("waiting for %q: %v", message, err)
		}
		if r.Msg == message {
			return r
		}
	}
}

func TestAServerAnswersOnAfterItWasToldToStop(t *testing.T) {
	t.Parallel()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	log, code := follow(ctx, "serve", "--listen", "127.0.0.1:0", "--linger", "1s")
	address := next(t, log, "Started").Address
	stop()
	next(t, log, "Was told to stop")
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatalf("requesting within the second after the stop: %v", err)
	}
	if err := response.Body.Close(); err != nil || response.StatusCode != http.StatusOK {
		t.Errorf("status %q, %v", response.Status, err)
	}
	next(t, log, "Ended")
	if got := <-code; got != 0 {
		t.Errorf("code = %d, want 0", got)
	}
	if connection, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", address); err == nil {
		t.Errorf("it still listens after its end: %v", connection.Close())
	}
}

func TestAClientCountsWhatFails(t *testing.T) {
	t.Parallel()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	answered := 0 // one request at a time
	server := &http.Server{ReadHeaderTimeout: time.Second, Handler: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		if answered++; answered == 2 {
			http.Error(w, "not now", http.StatusServiceUnavailable)
		}
	})}
	served := make(chan error, 1)
	go func() { served <- server.Serve(listener) }()
	ctx, stop := context.WithCancel(t.Context())
	defer stop()
	log, code := follow(ctx, "fetch", "--url", "http://"+listener.Addr().String(), "--every", "10ms")
	next(t, log, "Try failed")
	if counted := next(t, log, "Counted"); counted.Failures != 1 || counted.Tries < 2 {
		t.Errorf("counted %d failures of %d tries, want 1", counted.Failures, counted.Tries)
	}
	stop()
	next(t, log, "Ended")
	if got := <-code; got != 0 {
		t.Errorf("code = %d, want 0", got)
	}
	if err := server.Close(); err != nil {
		t.Error(err)
	}
	if err := <-served; !errors.Is(err, http.ErrServerClosed) {
		t.Error(err)
	}
}
