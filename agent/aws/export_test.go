package aws

import (
	"time"

	"github.com/ebbtide/ebbtide/agent"
)

// SetClock sets what the sources of one service go by, before they are polled: what is
// read comes over a network, which knows no virtual time.
func SetClock(s agent.Source, now func() time.Time) {
	s.(*source).client.setClock(now) //nolint:forcetypeassert,errcheck // it is made here
}
