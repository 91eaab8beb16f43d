package main

import (
	"bytes"
	"flag"
	"io"
	"net/http"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/ebbtide/ebbtide/agent/gcp/gcptest"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest/program"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHelpTeaches(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if code := fake.Run(t.Context(), []string{"--help"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("exit code %d, and on stderr %q", code, stderr.String())
	}
	for _, want := range []string{"go run ./agent/gcp", "-preempt-after", "-control", "POST   /maintain", "hidden-keys", "hanging-item"} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("--help lacks %q", want)
		}
	}
}

func TestTheFlagsAnnounceNotices(t *testing.T) {
	t.Parallel()
	const scheduling = gcptest.Root + "scheduling/"
	for name, tc := range map[string]struct {
		args []string
		path string
		want string
	}{
		"none unless it is asked for":    {nil, gcptest.PreemptedPath, "FALSE"},
		"a preemption":                   {[]string{"--preempt-after", "0s"}, gcptest.PreemptedPath, "TRUE"},
		"a preemption that comes later":  {[]string{"--preempt-after", "1h"}, gcptest.PreemptedPath, "FALSE"},
		"no maintenance":                 {nil, gcptest.MaintenancePath, "NONE"},
		"a migration":                    {[]string{"--maintain-after", "0s", "--action", "MIGRATE"}, gcptest.MaintenancePath, "MIGRATE_ON_HOST_MAINTENANCE"},
		"an extended notice":             {[]string{"--extended-notice", "2m"}, scheduling, `"preemptionNoticeDuration":{"seconds":"120"}`},
		"what the machine is without it": {nil, scheduling, `"onHostMaintenance":"TERMINATE"`},
	} {
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
			if got := value(t, service.URL()+tc.path); !strings.Contains(got, tc.want) {
				t.Errorf("%s is %q, want %q in it", tc.path, got, tc.want)
			}
		})
	}
}

// value is what a client reads.
func value(t *testing.T, key string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, key, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Metadata-Flavor", "Google")
	answer, err := (&http.Transport{DisableKeepAlives: true}).RoundTrip(r)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close() //nolint:errcheck // it is read to its end
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}
