package program

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// theNotice is what the word tells of.
const theNotice = "notice"

// echo is the smallest fake that there can be: it answers with one word.
type echo struct {
	*metadatatest.Server
	word string
}

func (e *echo) Answer(metadatatest.Ask) metadatatest.Reply {
	answer := metadatatest.Text(e.word)
	answer.Role, answer.Tells = metadatatest.NoticeRole, []string{theNotice}
	return answer
}

func (e *echo) Refuse(status int) metadatatest.Reply {
	return metadatatest.Reply{Status: status, Kind: "text/plain", Body: http.StatusText(status)}
}

func (e *echo) Control() http.Handler { return e.Server.Control() }

var fake = Program{
	Name: "fake", Usage: "fake serves a word.\n", Faults: metadatatest.Common(), Control: metadatatest.ControlHelp(),
	Flags: func(flags *flag.FlagSet) Own {
		word := flags.String("word", "", "the word that is answered")
		check := func() error {
			if strings.Contains(*word, " ") {
				return fmt.Errorf("--word: %q are several", *word)
			}
			return nil
		}
		return Own{Check: check, Start: func(l Listen) (Service, error) {
			if *word == "" {
				return nil, errors.New("--word: there is none")
			}
			e := &echo{word: *word}
			var err error
			e.Server, err = metadatatest.Start(e, metadatatest.Options{
				Listen: l.Address, KeepAlive: l.KeepAlive, Trace: l.Trace, Faults: metadatatest.Common(),
			})
			if err != nil {
				return nil, err
			}
			e.Announce(metadatatest.Notice{Name: theNotice})
			return e, nil
		}}
	},
}

func TestAWrongCommandLineIsExplained(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		want []string
	}{
		"an address of all interfaces":    {[]string{"--listen", "0.0.0.0:1338"}, []string{"--listen", "--allow-non-loopback"}},
		"a name":                          {[]string{"--listen", "localhost:1338"}, []string{"--listen", "--allow-non-loopback"}},
		"an address without port":         {[]string{"--listen", "127.0.0.1"}, []string{"127.0.0.1:1338"}},
		"a control address of others":     {[]string{"--control", "192.0.2.1:1339"}, []string{"--control", "--allow-non-loopback"}},
		"a fault that does not exist":     {[]string{"--fault", "gremlins"}, []string{"--fault", "gremlins", "html-page"}},
		"a flag that does not exist":      {[]string{"--words"}, []string{"-words"}},
		"an argument":                     {[]string{"now"}, []string{`"now"`}},
		"an address of all, unnamed":      {[]string{"--listen", ":1338"}, []string{"--listen", "--allow-non-loopback"}},
		"a length of no fault":            {[]string{"--fault-for", "2m"}, []string{"--fault-for", "--fault"}},
		"a negative length of a fault":    {[]string{"--fault", "html-page", "--fault-for", "-2m"}, []string{"--fault-for", "-2m"}},
		"a mistake in the fake's own":     {[]string{"--word", "a b"}, []string{"--word", "several"}},
		"several mistakes, each reported": {[]string{"--listen", "x", "--fault", "y", "--word", "a b", "z"}, []string{"--listen", "--fault", "--word", `"z"`}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			ctx, stop := context.WithCancel(t.Context())
			stop() // it would serve until then
			var stdout, stderr bytes.Buffer
			if code := fake.Run(ctx, tc.args, &stdout, &stderr); code != 2 {
				t.Errorf("exit code %d, want 2", code)
			}
			for _, want := range tc.want {
				if !strings.Contains(stderr.String(), want) {
					t.Errorf("it says %q, want %q in it", stderr.String(), want)
				}
			}
		})
	}
}

func TestHelpListsWhatThereIs(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if code := fake.Run(t.Context(), []string{"--help"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("exit code %d, and on stderr %q", code, stderr.String())
	}
	wants := []string{"fake serves a word", "-word", "-control", "GET    /status"}
	for _, f := range metadatatest.Common().Names() {
		wants = append(wants, string(f))
	}
	for _, want := range wants {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("--help lacks %q", want)
		}
	}
}

func TestWhatCannotBeServedEndsTheProgram(t *testing.T) {
	t.Parallel()
	other := &echo{}
	var err error
	if other.Server, err = metadatatest.Start(other, metadatatest.Options{}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(other.Close)
	taken := strings.TrimPrefix(other.URL(), "http://")
	for name, tc := range map[string]struct {
		args []string
		want string
	}{
		"an address in use":          {[]string{"--word", "x", "--listen", taken}, taken},
		"a control address in use":   {[]string{"--word", "x", "--listen", "127.0.0.1:0", "--control", taken}, taken},
		"a fake that does not start": {nil, "--word"},
	} {
		var stdout, stderr bytes.Buffer
		if code := fake.Run(t.Context(), tc.args, &stdout, &stderr); code != 1 || !strings.Contains(stderr.String(), tc.want) {
			t.Errorf("%s: exit code %d, and on stderr %q; want 1 and %q", name, code, stderr.String(), tc.want)
		}
	}
}

func TestTheProgramServesUntilItIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, interrupt := context.WithCancel(t.Context())
	defer interrupt()
	stdout, stderr := newLines(), newLines()
	code := make(chan int, 1)
	go func() {
		code <- fake.Run(ctx, []string{
			"--listen", "127.0.0.1:0", "--control", "127.0.0.1:0", "--word", "calm", "--clock-offset", "1h", "--fault", "unavailable", "--fault-for", "1s",
		}, stdout, stderr)
	}()
	service := stdout.wait(t, `metadata service at (http://\S+)`)
	control := stdout.wait(t, `control endpoint at (http://\S+)`)
	if body, _ := fetch(t, http.MethodGet, service+"/word"); body != "Service Unavailable" {
		t.Errorf("under the fault it answers %q", body)
	}
	stdout.wait(t, "Fault unavailable is over")
	fetch(t, http.MethodDelete, control+"/fault")
	for range 3 {
		body, date := fetch(t, http.MethodGet, service+"/word")
		if ahead := time.Until(date); body != "calm" || ahead < 59*time.Minute {
			t.Errorf("it answers %q, with a clock that is %s ahead", body, ahead)
		}
	}
	interrupt()
	select {
	case got := <-code:
		if got != 0 {
			t.Errorf("exit code %d, want 0; it says %q", got, stderr.text)
		}
	case <-time.After(20 * time.Second):
		t.Fatal("the program did not end")
	}
	stdout.wait(t, `Requests \(at most 4 in any ten seconds\):\n +4  GET /word\nThe notice was first read at`)
	if got := strings.Count(stdout.text, "/word: 200\n"); got != 1 {
		t.Errorf("three requests with the same answer made %d lines, want 1:\n%s", got, stdout.text)
	}
}

// lines is an output that a test can wait on.
type lines struct {
	mu    sync.Mutex
	text  string
	grown chan struct{}
}

func newLines() *lines { return &lines{grown: make(chan struct{}, 1)} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	l.text += string(p)
	l.mu.Unlock()
	select {
	case l.grown <- struct{}{}:
	default:
	}
	return len(p), nil
}

// wait returns what the pattern's group matches, once it does.
func (l *lines) wait(t *testing.T, pattern string) string {
	t.Helper()
	re, deadline := regexp.MustCompile(pattern), time.After(20*time.Second)
	for {
		l.mu.Lock()
		text := l.text
		l.mu.Unlock()
		if match := re.FindStringSubmatch(text); match != nil {
			return match[len(match)-1]
		}
		select {
		case <-l.grown:
		case <-deadline:
			t.Fatalf("%q did not come; the output is:\n%s", pattern, text)
		}
	}
}

func fetch(t *testing.T, method, url string) (body string, date time.Time) {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // read to its end below
	read, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	date, err = http.ParseTime(answer.Header.Get("Date"))
	if err != nil {
		t.Error(err)
	}
	return string(read), date
}
