package aws

import (
	"testing"
	"time"
	"unicode/utf8"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

// Whatever a stranger at the address sends, it ends as notices or an error, and what is
// kept of it can be logged.
func FuzzSpot(f *testing.F) {
	fuzz(f, readSpot, agent.SpotInterruption,
		`{"action": "terminate", "time": "2017-09-18T08:22:00Z"}`, `{"action": "hibernate"}`, `{"time": null}`,
		`{"action": {"a": []}}`, `[]`, "{\"action\": \"\xff\"}")
}

func FuzzRebalance(f *testing.F) {
	fuzz(f, readRebalance, agent.RebalanceAdvice,
		`{"noticeTime": "2020-10-27T08:22:00Z"}`, `{"noticeTime": null}`, `{"noticeTime": 1}`, `[]`, "{\"noticeTime\": \"\xff\"}")
}

func FuzzMaintenance(f *testing.F) {
	fuzz(f, readMaintenance, agent.Maintenance,
		`[{"NotBefore": "21 Jan 2019 09:00:43 GMT", "Code": "system-reboot", "EventId": "instance-event-1", "State": "active"}]`,
		`[]`, `[null]`, `[7, {"Code": "instance-stop"}, []]`, `[{"EventId": {"a": "`+"\xff"+`"}, "State": "canceled"}]`, `{"Code": ""}`)
}

func FuzzLifecycle(f *testing.F) {
	fuzz(f, lifecycle(time.Minute), agent.ScaleIn, "Terminated", "InService", " Warmed:Stopped\n", "Term", "\xff", `"Terminated"`)
}

func fuzz(f *testing.F, read func(metadata.Reply) ([]agent.Sighting, error), kind agent.Kind, seeds ...string) {
	f.Helper()
	for _, seed := range append(seeds, ``, `{}`, `null`, `<html>`) {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		sightings, err := read(metadata.Reply{Body: body})
		if err != nil && (len(sightings) > 0 || !utf8.ValidString(err.Error())) {
			t.Errorf("%+v and the error %q of %q", sightings, err, body)
		}
		for _, s := range sightings {
			for _, text := range []string{s.Raw, s.ID, string(s.Action)} {
				if len(text) > agent.MaxRaw || !utf8.ValidString(text) {
					t.Errorf("%q is kept of %q", text, body)
				}
			}
			if s.Kind != kind || s.State == "" || s.Raw == "" {
				t.Errorf("sighting %+v of %q", s, body)
			}
		}
	})
}
