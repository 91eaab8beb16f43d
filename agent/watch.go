package agent

import (
	"context"
	"time"
)

// retryWithin is the longest time from the begin of a failed poll to the begin of
// the next, unless the poll took longer: a failure may hide a notice.
const retryWithin = time.Second

// observation is one successful poll.
type observation struct {
	source    Source
	sightings []Sighting
	at        time.Time
}

// checkName is the name of source's check in Health.
func checkName(source Source) string { return "source/" + source.Provider() + "-" + source.Name() }

// watch polls source at its pace until ctx ends. A failed poll is health,
// never an end: the source may see again in the next second.
func (a *Agent) watch(ctx context.Context, source Source, out chan<- observation) {
	pace := source.Pace()
	for {
		began, pause := time.Now(), pace.Every
		poll, cancel := context.WithTimeout(ctx, pace.Timeout)
		sightings, err := source.Poll(poll)
		cancel()
		if ctx.Err() != nil {
			return
		}
		now := time.Now()
		a.Health.Set(checkName(source), err, now)
		a.Metrics.polled(source, err, now)
		if err != nil {
			pause = min(pause, retryWithin)
		} else {
			select {
			case out <- observation{source, sightings, now}:
			case <-ctx.Done():
				return
			}
		}
		select {
		case <-time.After(time.Until(began.Add(pause))):
		case <-ctx.Done():
			return
		}
	}
}
