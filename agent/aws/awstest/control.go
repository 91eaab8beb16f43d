package awstest

import (
	"net/http"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// routes are what this fake can be told besides what every fake can.
func (s *Server) routes() []metadatatest.Route {
	return append([]metadatatest.Route{
		{
			Pattern: "POST /interrupt", Usage: "POST   /interrupt?action=terminate&notice=2m&after=0s",
			Doc: "a notice", Do: s.controlInterrupt,
		},
		{
			Pattern: "POST /take-back", Doc: "no notice",
			Do: func(*http.Request) error { s.TakeBack(); return nil },
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

func (s *Server) controlInterrupt(r *http.Request) error {
	lead, err := metadatatest.Duration(r, "notice", 2*time.Minute)
	if err != nil {
		return err
	}
	after, err := metadatatest.Duration(r, "after", 0)
	if err != nil {
		return err
	}
	action := r.URL.Query().Get("action")
	if action == "" {
		action = "terminate"
	}
	s.InterruptAfter(after, action, lead)
	return nil
}
