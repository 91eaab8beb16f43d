package aws

import (
	"errors"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/metadata"
)

// terminated is the state of an instance that is to go.
const terminated = "Terminated"

// leaves are the target states in which the machine does not run. From the warm pool an
// instance is terminated as from the group. Scaling in with a reuse policy returns an
// instance that has pods to the warm pool, which stops or hibernates it; so does filling
// the pool with a new instance, whose node is better not used before it comes back.
var leaves = map[string]agent.Action{
	terminated:          agent.Terminate,
	"Warmed:Terminated": agent.Terminate,
	"Warmed:Stopped":    agent.Stop,
	"Warmed:Hibernated": agent.Hibernate,
}

// stays are those in which it does. A node that is detached, on standby or running in the
// warm pool is as good for its pods as before; whether it is to have any is for those who
// put it there.
var stays = map[string]bool{"InService": true, "Standby": true, "Detached": true, "Warmed:Running": true}

var (
	errNoState   = errors.New("not a word")
	errHalfState = errors.New("half a state")
)

// lifecycle reads the item autoscaling/target-lifecycle-state, one word, by the EC2 Auto
// Scaling user guide, "Retrieve the target lifecycle state through instance metadata". It
// is there once the instance has begun to move to such a state, and Terminated is said
// while the group's hooks hold the termination back, for notice at the most. It names no
// moment.
//
// A state that AWS invents later is none: the machine is not told to go, and an agent that
// calls itself blind on every node would help nobody. Any server can answer with a word,
// so it only counts from a service that is known to be sound, and one that is cut off in
// the middle of the word that matters is an error.
func lifecycle(notice time.Duration) func(metadata.Reply) ([]agent.Sighting, error) {
	return func(r metadata.Reply) ([]agent.Sighting, error) {
		state, ok := word(r.Body)
		action, goes := leaves[state]
		switch {
		case !ok || strings.ContainsAny(state, `{}<>[]"`):
			return nil, errNoState
		case stays[state]:
			return nil, nil
		case !goes && half(state):
			return nil, errHalfState
		case !goes:
			return nil, errUnproven
		}
		return []agent.Sighting{{
			Kind:       agent.ScaleIn,
			Action:     action,
			State:      agent.Started,
			ServerTime: r.Date,
			Nominal:    notice,
			Raw:        metadata.Cut(r.Body, agent.MaxRaw),
		}}, nil
	}
}

// half says whether a word could be the beginning of a state in which the machine goes.
func half(word string) bool {
	for state := range leaves {
		if strings.HasPrefix(state, word) {
			return true
		}
	}
	return false
}
