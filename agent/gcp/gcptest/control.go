package gcptest

import (
	"cmp"
	"net/http"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// routes are what this fake can be told besides what every fake can.
func (s *Server) routes() []metadatatest.Route {
	end := func(do func()) func(*http.Request) error {
		return func(*http.Request) error { do(); return nil }
	}
	delayed := func(do func(r *http.Request, after time.Duration) error) func(*http.Request) error {
		return func(r *http.Request) error {
			after, err := metadatatest.Duration(r, "after", 0)
			if err != nil {
				return err
			}
			return do(r, after)
		}
	}
	return append([]metadatatest.Route{
		{
			Pattern: "POST /preempt", Usage: "POST   /preempt?after=0s", Doc: "a preemption",
			Do: delayed(func(_ *http.Request, after time.Duration) error { s.Preempt(after); return nil }),
		},
		{Pattern: "POST /take-back", Doc: "no preemption", Do: end(func() { s.TakeBack() })},
		{
			Pattern: "POST /maintain", Usage: "POST   /maintain?action=TERMINATE&after=0s", Doc: "host maintenance that is about to begin",
			Do: delayed(func(r *http.Request, after time.Duration) error {
				s.Maintain(after, cmp.Or(r.URL.Query().Get("action"), "TERMINATE"))
				return nil
			}),
		},
		{Pattern: "POST /end-maintenance", Doc: "none", Do: end(func() { s.EndMaintenance() })},
		{
			Pattern: "POST /plan", Usage: "POST   /plan?status=PENDING&in=24h&after=0s", Doc: "planned maintenance",
			Do: delayed(func(r *http.Request, after time.Duration) error {
				in, err := metadatatest.Duration(r, "in", 24*time.Hour)
				if err == nil {
					s.Plan(after, cmp.Or(r.URL.Query().Get("status"), "PENDING"), s.Now().Add(after+in))
				}
				return err
			}),
		},
		{Pattern: "POST /unplan", Doc: "none", Do: end(func() { s.Unplan() })},
	}, metadatatest.TreeRoutes("key", "set a key below instance/ to the body", s.SetKey, s.RemoveKey)...)
}

// ControlHelp lists what Control answers.
var ControlHelp = metadatatest.ControlHelp((*Server)(nil).routes()...)

// Control is a handler that does over HTTP what the methods do, for a Server
// that runs in another process. Serve it on an address of its own: under
// ConnectionRefused the Server's own address is closed.
func (s *Server) Control() http.Handler { return s.Server.Control(s.routes()...) }
