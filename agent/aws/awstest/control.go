package awstest

import (
	"cmp"
	"net/http"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// routes are what this fake can be told besides what every fake can.
func (s *Server) routes() []metadatatest.Route {
	return append([]metadatatest.Route{
		{
			Pattern: "POST /interrupt", Usage: "POST   /interrupt?action=terminate&notice=2m&after=0s",
			Doc: "an interruption notice", Do: delayed(s.controlInterrupt),
		},
		{
			Pattern: "POST /take-back", Doc: "none",
			Do: func(*http.Request) error { s.TakeBack(); return nil },
		},
		{
			Pattern: "POST /rebalance", Usage: "POST   /rebalance?after=0s", Doc: "a rebalance recommendation",
			Do: delayed(func(_ *http.Request, after time.Duration) error { s.Rebalance(after); return nil }),
		},
		{
			Pattern: "POST /end-rebalance", Doc: "none",
			Do: func(*http.Request) error { s.EndRebalance(); return nil },
		},
		{
			Pattern: "POST /schedule/{id}", Usage: "POST   /schedule/ID?code=system-reboot&in=24h&state=active", Doc: "maintenance",
			Do: delayed(s.controlSchedule),
		},
		{
			Pattern: "DELETE /schedule/{id}", Usage: "DELETE /schedule/ID", Doc: "take it off the list",
			Do: func(r *http.Request) error { s.Unschedule(r.PathValue("id")); return nil },
		},
		{
			Pattern: "POST /target", Usage: "POST   /target?state=Terminated&after=0s", Doc: "the target lifecycle state",
			Do: delayed(func(r *http.Request, after time.Duration) error {
				s.Target(after, cmp.Or(r.URL.Query().Get("state"), "Terminated"))
				return nil
			}),
		},
		{
			Pattern: "POST /end-target", Doc: "none",
			Do: func(*http.Request) error { s.EndTarget(); return nil },
		},
		{
			Pattern: "POST /expire-tokens", Doc: "void every token",
			Do: func(*http.Request) error { s.ExpireTokens(); return nil },
		},
	}, metadatatest.TreeRoutes("item", "set an item below meta-data/ to the body", s.SetItem, s.RemoveItem)...)
}

// ControlHelp lists what Control answers.
var ControlHelp = metadatatest.ControlHelp((*Server)(nil).routes()...)

// Control is a handler that does over HTTP what the methods do, for a Server
// that runs in another process. Serve it on an address of its own: under
// ConnectionRefused the Server's own address is closed.
func (s *Server) Control() http.Handler { return s.Server.Control(s.routes()...) }

// delayed reads how long what is announced is to wait.
func delayed(do func(r *http.Request, after time.Duration) error) func(*http.Request) error {
	return func(r *http.Request) error {
		after, err := metadatatest.Duration(r, "after", 0)
		if err != nil {
			return err
		}
		return do(r, after)
	}
}

func (s *Server) controlInterrupt(r *http.Request, after time.Duration) error {
	lead, err := metadatatest.Duration(r, "notice", 2*time.Minute)
	if err != nil {
		return err
	}
	s.InterruptAfter(after, cmp.Or(r.URL.Query().Get("action"), "terminate"), lead)
	return nil
}

func (s *Server) controlSchedule(r *http.Request, after time.Duration) error {
	in, err := metadatatest.Duration(r, "in", 24*time.Hour)
	if err != nil {
		return err
	}
	s.Schedule(after, Event{
		ID: r.PathValue("id"), Code: cmp.Or(r.URL.Query().Get("code"), "system-reboot"),
		NotBefore: s.Now().Add(in), NotAfter: s.Now().Add(in + 2*time.Hour), State: r.URL.Query().Get("state"),
	})
	return nil
}
