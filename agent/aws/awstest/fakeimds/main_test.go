package main

import (
	"bytes"
	"context"
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"go.uber.org/goleak"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/aws"
	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest/program"
	"github.com/ebbtide/ebbtide/agent/sourcetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestAWrongCommandLineIsExplained(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		want []string
	}{
		"a fault that does not exist":     {[]string{"--fault", "gremlins"}, []string{"--fault", "gremlins", "hanging-token"}},
		"a duration that is none":         {[]string{"--interrupt-after", "soon"}, []string{"soon", "interrupt-after"}},
		"a negative duration":             {[]string{"--notice", "-2m"}, []string{"--notice"}},
		"a negative time to maintenance":  {[]string{"--maintenance-in", "-1h"}, []string{"--maintenance-in"}},
		"a taking back of nothing":        {[]string{"--take-back-after", "2m"}, []string{"--take-back-after", "--interrupt-after"}},
		"several mistakes, each reported": {[]string{"--listen", "x", "--notice", "-2m", "--take-back-after", "2m"}, []string{"--listen", "--notice", "--take-back-after"}},
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

func TestHelpTeaches(t *testing.T) {
	t.Parallel()
	var stdout, stderr bytes.Buffer
	if code := fake.Run(t.Context(), []string{"--help"}, &stdout, &stderr); code != 0 || stderr.Len() > 0 {
		t.Errorf("exit code %d, and on stderr %q", code, stderr.String())
	}
	help := stdout.String()
	wants := []string{
		"ebbtide-agent --config agent.yaml", "-interrupt-after", "-take-back-after", "POST   /interrupt",
		"-rebalance-after", "POST   /rebalance", "-maintenance-after", "POST   /schedule/", "-target-after", "POST   /target",
	}
	for _, f := range awstest.Faults() {
		wants = append(wants, string(f))
	}
	for _, want := range wants {
		if !strings.Contains(help, want) {
			t.Errorf("--help lacks %q", want)
		}
	}
}

func TestTheFlagsAnnounceAnInterruption(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		want agent.Action // empty: there is none
		lead time.Duration
	}{
		"none unless it is asked for":      {},
		"one that comes later":             {args: []string{"--interrupt-after", "1h"}},
		"one that is there at once":        {[]string{"--interrupt-after", "0s"}, agent.Terminate, 2 * time.Minute},
		"another action, shorter notice":   {[]string{"--interrupt-after", "0s", "--action", "stop", "--notice", "40s"}, agent.Stop, 40 * time.Second},
		"one that is taken back at length": {[]string{"--interrupt-after", "0s", "--take-back-after", "1h"}, agent.Terminate, 2 * time.Minute},
		"one that is taken back at once":   {args: []string{"--interrupt-after", "0s", "--take-back-after", "0s"}},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			sightings := poll(t, tc.args)
			if (len(sightings) > 0) != (tc.want != "") {
				t.Fatalf("sightings %+v", sightings)
			}
			for _, s := range sightings {
				if left := s.At.Sub(s.ServerTime); s.Action != tc.want || left > tc.lead+time.Second || left < tc.lead-10*time.Second {
					t.Errorf("a %s is in %s, want a %s in %s", s.Action, left, tc.want, tc.lead)
				}
			}
		})
	}
}

func TestTheFlagsAnnounceWhatElseThereIs(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		args []string
		want map[string]agent.Action // of the sources that see something
	}{
		"nothing unless it is asked for": {},
		"nothing before its time":        {args: []string{"--rebalance-after", "1h", "--maintenance-after", "1h", "--target-after", "1h"}},
		"a recommendation":               {[]string{"--rebalance-after", "0s"}, map[string]agent.Action{"rebalance": ""}},
		"maintenance":                    {[]string{"--maintenance-after", "0s"}, map[string]agent.Action{"maintenance": agent.Reboot}},
		"another maintenance": {
			[]string{"--maintenance-after", "0s", "--maintenance", "instance-stop", "--maintenance-in", "1h"},
			map[string]agent.Action{"maintenance": agent.Stop},
		},
		"an end by the group": {[]string{"--target-after", "0s"}, map[string]agent.Action{"lifecycle": agent.Terminate}},
		"a state that stays":  {args: []string{"--target-after", "0s", "--target", "Standby"}},
		"all at the same time": {
			[]string{"--rebalance-after", "0s", "--maintenance-after", "0s", "--target-after", "0s", "--interrupt-after", "0s"},
			map[string]agent.Action{"rebalance": "", "maintenance": agent.Reboot, "lifecycle": agent.Terminate, "spot": agent.Terminate},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got := map[string]agent.Action{}
			for _, source := range start(t, tc.args) {
				for _, s := range sourcetest.Poll(t, source) {
					got[source.Name()] = s.Action
				}
			}
			if diff := cmp.Diff(tc.want, got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("what the sources see (-want +got):\n%s", diff)
			}
		})
	}
}

// poll is what the agent reads of interruptions.
func poll(t *testing.T, args []string) []agent.Sighting {
	t.Helper()
	return sourcetest.Poll(t, start(t, args)[0])
}

// start are the agent's sources of a fake that was started with these arguments.
func start(t *testing.T, args []string) []agent.Source {
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
	sources, err := aws.NewSources(aws.Options{Endpoint: service.URL()})
	if err != nil {
		t.Fatal(err)
	}
	return sources
}
