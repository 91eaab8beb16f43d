package agent

import (
	"context"
	"time"
)

const (
	// blindAfter is how long a source may fail before it counts as blind: one
	// flaky poll is not blindness, a tenth of the shortest long notice is.
	blindAfter = 10 * time.Second
	// pollTimeout bounds one poll, so that a metadata service that hangs is
	// asked again in the second after.
	pollTimeout = time.Second
	// retryWithin is the longest pause after a failed poll, however long the
	// interval is: a failure may hide a notice.
	retryWithin = time.Second
)

// observation is one successful poll.
type observation struct {
	source    Source
	sightings []Sighting
	at        time.Time
}

// checkName is the name of source's check in Health.
func checkName(source Source) string { return "source/" + source.Provider() + "-" + source.Name() }

// watch polls source every interval until ctx ends. A failed poll is health,
// never an end: the source may see again in the next second.
func (a *Agent) watch(ctx context.Context, source Source, out chan<- observation) {
	for {
		began, pause := time.Now(), a.PollInterval
		poll, cancel := context.WithTimeout(ctx, pollTimeout)
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
