package gcp

import (
	"context"
	"time"

	"github.com/ebbtide/ebbtide/agent"
)

// provider names the cloud.
const provider = "gcp"

// preemptionNotice is what passes at most from the soft-off signal until the
// machine is switched off, by Compute Engine's documentation, "Spot VMs", and is
// all that an instance has for which no more was asked.
const preemptionNotice = 30 * time.Second

// preempting is the value of the key once the instance is being preempted.
const preempting = "TRUE"

// Preempted is the preemption of this instance, as agent.Source.
//
// The key is on every instance, says FALSE, and turns to TRUE once and for all. An
// instance can have been created with an extended notice, which passes before the
// soft-off signal; where its scheduling options tell of one, it takes the
// place of the 30 s, and is not added to them: those are not promised.
//
// The cloud names no moment. Where the key was seen to turn, the moment in a
// sighting is reckoned from that; it is zero where no one was looking.
type Preempted struct {
	watch
	options scheduling
}

var _ agent.Source = (*Preempted)(nil)

// NewPreempted sends nothing yet. The error says which option cannot be used.
func NewPreempted(o Options) (*Preempted, error) {
	w, err := newWatch(o, watch{
		path: keyPreempted, none: "FALSE", what: "TRUE or FALSE",
		known: func(value string) bool { return value == preempting || value == "FALSE" },
	})
	if err != nil {
		return nil, err
	}
	return &Preempted{watch: w, options: scheduling{client: w.client}}, nil
}

// Name implements agent.Source.
func (p *Preempted) Name() string { return "preempted" }

// Poll asks whether this instance is being preempted, and waits some seconds for
// that to change. It sends one request, and at most two. The error is a
// *metadata.ReadError.
func (p *Preempted) Poll(ctx context.Context) ([]agent.Sighting, error) {
	reply, err := p.next(ctx)
	if err != nil {
		return nil, err
	}
	if p.value != preempting {
		// Asked while there is time: of 30 s, none is left for it.
		p.options.learn(ctx)
		return nil, nil
	}
	return []agent.Sighting{p.turned(reply, max(preemptionNotice, p.options.notice), agent.Sighting{
		Kind: agent.SpotInterruption, Action: agent.Terminate, State: agent.Started,
	})}, nil
}
