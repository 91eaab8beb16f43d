package gcptest

import (
	"fmt"
	"time"

	"github.com/ebbtide/ebbtide/agent/metadata/metadatatest"
)

// The names of the notices are the keys that tell of them.
const (
	preempted   = "preempted"
	maintenance = "maintenance-event"
	upcoming    = "upcoming-maintenance"
)

// none is what the three keys hold when there is nothing to tell.
var none = map[string]string{preempted: "FALSE", maintenance: "NONE", upcoming: "{}"}

// Preempt lets the preemption of the instance begin, after a delay or now.
func (s *Server) Preempt(after time.Duration) { s.announce(preempted, after, "TRUE") }

// TakeBack makes the instance not preempted again, which never happens to a real
// one.
func (s *Server) TakeBack() { s.Withdraw(preempted) }

// Maintain announces host maintenance, after a delay or now: action is MIGRATE,
// TERMINATE or anything else that a test wants to see.
func (s *Server) Maintain(after time.Duration, action string) {
	s.announce(maintenance, after, action+"_ON_HOST_MAINTENANCE")
}

// EndMaintenance lets the host maintenance be over.
func (s *Server) EndMaintenance() { s.Withdraw(maintenance) }

// Plan announces, after a delay or now, maintenance that is to begin at a moment
// of this machine's clock: status is PENDING or ONGOING.
func (s *Server) Plan(after time.Duration, status string, at time.Time) {
	s.announce(upcoming, after, plan{status, at})
}

// Unplan lets no maintenance be planned.
func (s *Server) Unplan() { s.Withdraw(upcoming) }

func (s *Server) announce(key string, after time.Duration, content any) {
	s.Announce(metadatatest.Notice{Name: key, Content: content, From: s.Now().Add(after)})
}

// plan is planned maintenance.
type plan struct {
	status string
	at     time.Time
}

// document is the notice in the layout of the documentation.
func (p plan) document(ask metadatatest.Ask) string {
	at := func(d time.Duration) string { return ask.Cloud(p.at.Add(d)).Format(time.RFC3339) }
	return fmt.Sprintf(`{"can_reschedule":"true","latest_window_start_time":%q,"maintenance_status":%q,`+
		`"type":"SCHEDULED","window_end_time":%q,"window_start_time":%q}`, at(24*time.Hour), p.status, at(2*time.Hour), at(0))
}
