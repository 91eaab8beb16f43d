package main

import (
	"bytes"
	"encoding/json"
	"flag"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/ebbtide/ebbtide/agent/azure/azuretest"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest/program"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHelpTeaches(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if code := fake.Run(t.Context(), []string{"--help"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("exit code %d, and on stderr %q", code, stderr.String())
	}
	for _, want := range []string{"go run ./agent/azure", "-event-after", "-asleep", "-control", "PUT    /event/ID", "updating", "hanging-item"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("--help lacks %q", want)
		}
	}
}

func TestTheFlagsScheduleAnEvent(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		want string // of the list
	}{
		"none unless it is asked for": {nil, `"Events":[]`},
		"one that is there at once":   {[]string{"--event-after", "0s", "--event", "Redeploy", "--machine", "vmss_7"}, `"EventType":"Redeploy","ResourceType":"VirtualMachine","Resources":["vmss_7"]`},
		"one that comes later":        {[]string{"--event-after", "1h"}, `"Events":[]`},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			set := flag.NewFlagSet("", flag.ContinueOnError)
			own := flags(set)
			if err := set.Parse(tc.args); err != nil {
				t.Fatal(err)
			}
			service, err := own.Start(program.Listen{})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(service.Close)
			if body := list(t, service.URL()); !strings.Contains(body, tc.want) {
				t.Errorf("the list is %s, want %s in it", body, tc.want)
			}
			w := httptest.NewRecorder()
			service.Control().ServeHTTP(w, httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/status", http.NoBody))
			if !json.Valid(w.Body.Bytes()) || !strings.Contains(w.Body.String(), azuretest.EventsPath) {
				t.Errorf("its status is %s", w.Body)
			}
		})
	}
}

// list is what a client reads.
func list(t *testing.T, service string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, service+azuretest.EventsPath+"?api-version=2020-07-01", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Metadata", "true")
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // read to its end below
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
