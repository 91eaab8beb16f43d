package main

import (
	"bytes"
	"flag"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest/program"
	"github.com/ebbtide/ebbtide/agent/sourcetest"
	"github.com/ebbtide/ebbtide/agent/stamp"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestHelpTeaches(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if code := fake.Run(t.Context(), []string{"--help"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("exit code %d, and on stderr %q", code, stderr.String())
	}
	for _, want := range []string{
		"go run ./agent/stamp", "-cloud", "-interrupt-after", "-take-back-after", "-control", "POST   /interrupt", "unreadable-time", "hanging-token",
	} {
		if !strings.Contains(stdout.String(), want) {
			t.Errorf("--help lacks %q", want)
		}
	}
}

func TestTheFlagsAnnounceATermination(t *testing.T) {
	t.Parallel()
	const none time.Duration = 0
	tests := map[string]struct {
		args   []string
		source func(stamp.Options) (*stamp.Spot, error)
		lead   time.Duration // of what can be read
	}{
		"none unless it is asked for":      {nil, stamp.NewAlibaba, none},
		"one that comes later":             {[]string{"--interrupt-after", "1h"}, stamp.NewAlibaba, none},
		"one that is there at once":        {[]string{"--interrupt-after", "0s"}, stamp.NewAlibaba, 5 * time.Minute},
		"one on the other cloud":           {[]string{"--interrupt-after", "0s", "--cloud", "tencent"}, stamp.NewTencent, 2 * time.Minute},
		"one at shorter notice":            {[]string{"--interrupt-after", "0s", "--notice", "40s"}, stamp.NewAlibaba, 40 * time.Second},
		"one that is taken back at length": {[]string{"--interrupt-after", "0s", "--take-back-after", "1h"}, stamp.NewAlibaba, 5 * time.Minute},
		"one that is taken back at once":   {[]string{"--interrupt-after", "0s", "--take-back-after", "1ns"}, stamp.NewAlibaba, none},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sightings := poll(t, tc.source, tc.args)
			if (len(sightings) > 0) != (tc.lead > 0) {
				t.Fatalf("sightings %+v", sightings)
			}
			for _, s := range sightings {
				if left := s.At.Sub(s.ServerTime); left > tc.lead+time.Second || left < tc.lead-10*time.Second {
					t.Errorf("the termination is in %s, want %s", left, tc.lead)
				}
			}
		})
	}
}

// poll is what a source reads of a fake that was started with these arguments.
func poll(t *testing.T, source func(stamp.Options) (*stamp.Spot, error), args []string) []agent.Sighting {
	t.Helper()
	set := flag.NewFlagSet("", flag.ContinueOnError)
	own := flags(set)
	if err := set.Parse(args); err != nil {
		t.Fatal(err)
	}
	service, err := own.Start(program.Listen{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(service.Close)
	spot, err := source(stamp.Options{Endpoint: service.URL()})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(spot.Close)
	return sourcetest.Poll(t, spot)
}

func TestAnotherCloudIsRefused(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	code := fake.Run(t.Context(), []string{"--listen", "127.0.0.1:0", "--cloud", "cumulus"}, &stdout, &stderr)
	if code != 1 || !strings.Contains(stderr.String(), "alibaba and tencent") {
		t.Errorf("exit code %d, and on stderr %q", code, stderr.String())
	}
}
