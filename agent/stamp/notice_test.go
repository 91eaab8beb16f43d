package stamp

import (
	"testing"
	"unicode/utf8"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

// Whatever a stranger at the address sends, it ends as a notice or an error, and
// what is kept of it can be logged.
func FuzzSighting(f *testing.F) {
	for _, seed := range []string{
		"2015-01-05T18:02:00Z", "2018-08-18 12:05:33", "2018-08-18 12:0", "Sat, 18 Aug 2018 12:05:33 GMT", "1534565133",
		"0001-01-01T00:00:00Z", "9999-12-31 23:59:59\n", "", " ", "404 page not found", "<html>", `{"code": 123456}`, "\xff123456",
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		for _, c := range []cloud{alibaba, tencent} {
			r := metadata.Reply{Body: body}
			s, err := c.sighting(r)
			if err != nil {
				if text := r.Unreadable("a moment", err).Error(); !utf8.ValidString(text) {
					t.Errorf("%s: the error is no text: %q", c.provider, text)
				}
				continue
			}
			if s.Kind != agent.SpotInterruption || s.Raw == "" || len(s.Raw) > agent.MaxRaw || !utf8.ValidString(s.Raw) {
				t.Errorf("%s: sighting %+v of %q", c.provider, s, body)
			}
			if _, off := s.At.Zone(); !s.At.IsZero() && c.provider == "tencent" && len(s.Raw) == len("2018-08-18 12:05:33") && off != 8*60*60 {
				t.Errorf("%s: %q is read as %s", c.provider, body, s.At)
			}
		}
	})
}
