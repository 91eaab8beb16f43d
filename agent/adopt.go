package agent

import (
	"context"
	"slices"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"

	"github.com/ebbtide/ebbtide/drain"
)

// readOwnNode reads the node until that succeeds, and passes on the state that it
// finds there, nil where there is none. A drill of an agent beside this one, which is
// about to replace it, is that one's to end: it is waited for.
func (a *Agent) readOwnNode(ctx context.Context, found chan<- *drain.State) {
	for said := false; ; {
		state, err := a.ownState(ctx)
		a.set(ctx, nodeCheck, err)
		switch {
		case err != nil:
		case !a.isAnothers(ctx, state):
			select {
			case found <- state:
			case <-ctx.Done():
			}
			return
		case !said:
			said = true
			a.Log.Info("Left drill to the agent that is in it", "notice", state.Notice, "pod", state.Agent)
		}
		select {
		case <-ctx.Done():
			return
		case <-time.After(readDelay):
		}
	}
}

func (a *Agent) ownState(ctx context.Context) (*drain.State, error) {
	ask, cancel := context.WithTimeout(ctx, proveTimeout)
	defer cancel()
	node, err := a.Node.Get(ask)
	switch {
	case apierrors.IsNotFound(err):
		return nil, errUnknownNode(a.Node.Name())
	case err != nil:
		return nil, err
	}
	state, err := drain.ReadState(node)
	if err != nil {
		// It is not ours to undo, and the next cordon overwrites it.
		a.Log.Error("Left unreadable state alone", "node", a.Node.Name(), "err", err)
		return nil, nil //nolint:nilnil // an unreadable state is no reason to be unready
	}
	return state, nil
}

// isAnothers says whether state is that of a drill whose agent runs in another pod of
// this node, as far as anybody knows. An agent that was killed is not: either its pod is
// gone, or this is its pod.
func (a *Agent) isAnothers(ctx context.Context, state *drain.State) bool {
	if state == nil || Kind(state.Kind) != Drill || state.BootID != a.Boot.ID ||
		a.Pod == "" || state.Agent == "" || state.Agent == a.Pod {
		return false
	}
	ask, cancel := context.WithTimeout(ctx, proveTimeout)
	defer cancel()
	runs, err := a.Node.Runs(ask, state.Agent)
	return runs || err != nil
}

// adopt takes over the state that an earlier agent left on the node: a drain of
// this boot goes on, what another boot left is undone, and so is what is left of a
// drain whose node was put back already.
func (l *loop) adopt(ctx context.Context, state drain.State) {
	now := time.Now()
	deadline, same := state.OnBoot(now, l.Boot)
	if !same || state.PutBack {
		l.Log.Info("Found what is left of an earlier drain", "notice", state.Notice, "bootID", state.BootID, "putBack", state.PutBack)
		if rebootedBy(state, now, l.Boot) {
			l.survived = Notice{Source: state.Source, ID: state.Notice}
		}
		switch {
		case l.current == nil:
			l.undo(ctx, nil)
		case l.current.notice.ID == l.survived.ID:
			l.lapse(ctx) // the source was faster than the API server
		}
		// Any other drain that has begun meanwhile takes it over with its cordon, and what
		// would be taken back could be what that one has done.
		return
	}
	notice := Notice{
		Source: state.Source, ID: state.Notice, Kind: Kind(state.Kind), Action: Action(state.Action), State: Scheduled,
		Deadline: deadline, DeadlineKind: DeadlineKind(state.DeadlineKind), FirstSeen: now,
		Advice: Response(state.Advice),
	}
	if notice.Kind == Drill {
		// A real notice that is known already takes it over with its cordon.
		if l.current == nil {
			l.resumeDrill(ctx, notice)
		}
		return
	}
	switch budget := drain.NewBudget(deadline, now); {
	case l.current != nil && notice.Advice != "":
		return // a drain has taken it over
	case l.current != nil:
		// The source was faster than the API server. What was known before the
		// agent died still holds, an estimate too: it was made at first sight.
		l.hasten(notice)
	case now.Before(budget.GiveUpAt()) && !l.calledOff(notice):
		l.Log.Info("Resumed drain", "notice", notice.ID, "advice", notice.Advice, "deadline", deadline, "remaining", deadline.Sub(now).Seconds())
		l.begin(ctx, notice, now)
	default:
		// Its drain is over; what is left is to undo it when the notice lapses.
		l.Log.Info("Found finished drain", "notice", notice.ID, "deadline", deadline)
		l.current = &interruption{
			notice: notice, countdown: drain.NewCountdown(budget), done: make(chan struct{}),
			callOff: func(error) {}, called: now,
		}
		close(l.current.done)
	}
	if notice.Advice == "" {
		l.Metrics.interrupted.Set(1)
	}
}

// rebootedBy says whether the machine was rebooted by what state announced, and came back:
// its source may show that for minutes yet, and whoever drained for it again would have a
// node that is as good as new. A reboot before the deadline was another's.
func rebootedBy(state drain.State, now time.Time, boot drain.Boot) bool {
	drained := state.Advice == "" && state.BootID != boot.ID
	reboots := slices.Contains([]Action{Reboot, Redeploy, Stop}, Action(state.Action))
	// One that was estimated had begun, or was overdue.
	due := DeadlineKind(state.DeadlineKind) == Estimated || now.Add(-boot.Uptime()).After(state.Deadline)
	return drained && reboots && due
}
