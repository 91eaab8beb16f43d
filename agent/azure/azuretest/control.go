package azuretest

import (
	"cmp"
	"net/http"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// routes are what this fake can be told besides what every fake can.
func (s *Server) routes() []metadatatest.Route {
	about := func(do func(id string)) func(*http.Request) error {
		return func(r *http.Request) error { do(r.PathValue("id")); return nil }
	}
	return []metadatatest.Route{
		{
			Pattern: "PUT /event/{id}", Usage: "PUT    /event/ID?type=Preempt&notice=30s&for=-1s&after=0s",
			Doc: "an event", Do: s.controlSchedule,
		},
		{Pattern: "POST /begin/{id}", Usage: "POST   /begin/ID", Doc: "it starts", Do: about(s.Begin)},
		{Pattern: "DELETE /event/{id}", Usage: "DELETE /event/ID", Doc: "it is over, or was cancelled", Do: about(s.Remove)},
		{Pattern: "POST /wake-up", Doc: "the service wakes up", Do: about(func(string) { s.WakeUp() })},
	}
}

// ControlHelp lists what Control answers.
var ControlHelp = metadatatest.ControlHelp((*Server)(nil).routes()...)

// Control is a handler that does over HTTP what the methods do, for a Server
// that runs in another process. Serve it on an address of its own: under
// ConnectionRefused the Server's own address is closed.
func (s *Server) Control() http.Handler { return s.Server.Control(s.routes()...) }

func (s *Server) controlSchedule(r *http.Request) error {
	after, err := metadatatest.Duration(r, "after", 0)
	if err != nil {
		return err
	}
	notice, err := metadatatest.Duration(r, "notice", 30*time.Second)
	if err != nil {
		return err
	}
	stands, err := metadatatest.Duration(r, "for", -time.Second)
	if err != nil {
		return err
	}
	s.ScheduleAfter(after, Event{
		ID: r.PathValue("id"), Type: cmp.Or(r.URL.Query().Get("type"), "Preempt"),
		NotBefore: s.Now().Add(after + notice), Duration: stands,
	})
	return nil
}

// Faults are those that the service can have.
func Faults() metadatatest.Definitions { return faults.With() }
