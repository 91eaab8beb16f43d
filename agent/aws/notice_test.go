package aws

import (
	"testing"
	"unicode/utf8"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

// Whatever a stranger at the address sends, it ends as a notice or an error,
// and what is kept of it can be logged.
func FuzzSpotSighting(f *testing.F) {
	for _, seed := range []string{
		`{"action": "terminate", "time": "2017-09-18T08:22:00Z"}`,
		`{"action": "hibernate"}`, `{"time": null}`, `{"action": {"a": []}}`,
		`{}`, `[]`, `null`, ``, "{\"action\": \"\xff\"}", `<html>`,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		s, err := spotSighting(metadata.Reply{Body: body})
		if err != nil {
			if !utf8.ValidString(err.Error()) {
				t.Errorf("the error is no text: %q", err)
			}
			return
		}
		if s.Kind != agent.SpotInterruption || len(s.Raw) > agent.MaxRaw || !utf8.ValidString(s.Raw) {
			t.Errorf("sighting %+v of %q", s, body)
		}
	})
}
