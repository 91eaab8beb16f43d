package drain

import "time"

// lateness is how much later than its latest moment a pod can be told to stop and
// still be given all of its own grace, in the whole seconds of the API; see
// [Budget.Grace]. It is also what a timer may be late by.
const lateness = 500 * time.Millisecond

// spare ends the wait of the pods that a gentle drain cannot move any more.
func (r *run) spare(now time.Time) {
	for _, p := range r.moves {
		if !p.gentle || p.phase != waiting || !p.hopeless() && now.Before(p.limit()) {
			continue
		}
		p.spare()
		r.tell(p, false, false)
	}
}

// limit is when the pod's wait for its budget ends: by force or, in a gentle drain,
// because it would not be given all of its grace any more.
func (p *progress) limit() time.Time {
	if p.gentle {
		return p.ForceAt.Add(lateness)
	}
	return p.ForceAt
}

// spare leaves the pod where it is. Its last refusal stays in the report.
func (p *progress) spare() { p.phase, p.out.Path = done, Spared }
