package agent

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/drain"
)

// Drill is the kind of a notice that no cloud has given: somebody asked the agent to
// act as if one had. It stands in the node's taint and state, in Events and in the log,
// so that nobody takes it for the real thing, and is counted apart.
const Drill Kind = "Drill"

// drillSource is the source of such a notice.
const drillSource = "ebbtide/drill"

// The bounds of [DrillOrder.Notice]: less than the shortest notice of a cloud proves
// nothing, and a node that is cordoned for a drill is missed.
const (
	MinDrillNotice = 10 * time.Second
	MaxDrillNotice = 10 * time.Minute
)

// DrillOrder says what kind of drill is asked for.
type DrillOrder struct {
	// Notice is how long before its end the machine is to have been announced as
	// doomed, from MinDrillNotice to MaxDrillNotice.
	Notice time.Duration `json:"notice"`
	// Force lets the drill do all that an interruption would: delete pods past their
	// disruption budget, and shorten their grace. Without it the drill is gentle;
	// see [drain.Policy].
	Force bool `json:"force,omitempty"`
	// DryRun asks for the plan only.
	DryRun bool `json:"dryRun,omitempty"`
}

// Check returns what is wrong with the order; nil when nothing is.
func (o DrillOrder) Check() error {
	if o.Notice < MinDrillNotice || o.Notice > MaxDrillNotice {
		return fmt.Errorf("checking the order: a notice of %s is not between %s and %s", o.Notice, MinDrillNotice, MaxDrillNotice)
	}
	return nil
}

// ErrDrillRefused is why there is no drill now; what wraps it says more.
var ErrDrillRefused = errors.New("no drill now")

// Drills takes orders to an agent that runs; see [NewDrills]. It is safe for use by
// several goroutines.
type Drills struct{ asks chan drillAsk }

// NewDrills returns what an agent takes orders for drills by.
func NewDrills() *Drills { return &Drills{asks: make(chan drillAsk)} }

// drillAsk is an order on its way to the loop. Without an order the last drill is
// asked for.
type drillAsk struct {
	order *DrillOrder
	// looked is true when the node was looked at before.
	looked bool
	answer chan<- drillAnswer
}

type drillAnswer struct {
	run   *DrillRun
	begun bool
	// look is to be called before asking again; nil asks for nothing.
	look func(ctx context.Context) error
	err  error
}

// Begin begins a drill, or returns the one that is under way, for which begun is
// false. The drill goes on whatever becomes of ctx. A node that is under a notice or
// carries anything of an earlier drain, and an agent that is not ready, refuse with
// [ErrDrillRefused].
func (d *Drills) Begin(ctx context.Context, order DrillOrder) (run *DrillRun, begun bool, err error) {
	if err := order.Check(); err != nil {
		return nil, false, err
	}
	answer, err := d.ask(ctx, drillAsk{order: &order})
	if err == nil && answer.look != nil {
		// Here, since the loop waits for nobody: a notice may come meanwhile.
		if err := answer.look(ctx); err != nil {
			return nil, false, err
		}
		answer, err = d.ask(ctx, drillAsk{order: &order, looked: true})
	}
	return answer.run, answer.begun, err
}

// Last returns the drill that is under way or else the last one that this agent has
// seen; [ErrDrillRefused] when there was none.
func (d *Drills) Last(ctx context.Context) (*DrillRun, error) {
	answer, err := d.ask(ctx, drillAsk{})
	return answer.run, err
}

func (d *Drills) ask(ctx context.Context, ask drillAsk) (drillAnswer, error) {
	answers := make(chan drillAnswer, 1) // the loop waits for nobody
	ask.answer = answers
	select {
	case d.asks <- ask:
		answer := <-answers
		return answer, answer.err
	case <-ctx.Done():
		return drillAnswer{}, fmt.Errorf("asking the agent's loop: %w", context.Cause(ctx))
	}
}

// asked is the channel of orders; one that never gives any where there are no drills.
func (d *Drills) asked() <-chan drillAsk {
	if d == nil {
		return nil
	}
	return d.asks
}

// answer decides about an order.
func (l *loop) answer(ctx context.Context, ask drillAsk) drillAnswer {
	switch {
	case ask.order == nil && l.lastDrill == nil:
		return drillAnswer{err: refuseDrill("this agent has seen none yet")}
	case ask.order == nil, l.drilling():
		return drillAnswer{run: l.lastDrill}
	}
	if why := l.undrillable(); why != "" {
		return drillAnswer{err: refuseDrill(why)}
	}
	switch {
	case !ask.looked:
		return drillAnswer{look: l.mayDrill}
	case !l.adopted:
		return drillAnswer{err: refuseDrill("the agent has not read yet what an earlier one left on its node")}
	}
	l.beginDrill(ctx, *ask.order)
	return drillAnswer{run: l.lastDrill, begun: true}
}

func refuseDrill(why string) error { return fmt.Errorf("%w: %s", ErrDrillRefused, why) }

// undrillable says why no drill can begin, as far as the agent knows without a look at
// its node; empty when one can.
func (l *loop) undrillable() string {
	if l.current != nil {
		return fmt.Sprintf("the node is under notice %q, %s", l.current.notice.ID, l.current.notice.Kind)
	}
	// A blind source is none of them: a drill is what one tries where no cloud is.
	failing := l.Health.Failing(time.Now())
	for _, check := range []string{nodeCheck, permissionsCheck, cordonCheck} {
		if err := failing[check]; err != nil {
			return fmt.Sprintf("the agent is not ready: %s: %v", check, err)
		}
	}
	return ""
}

// mayDrill looks at the node and returns why it rules a drill out; nil when nothing
// does. A drill writes down what the node looked like before it, and takes back at its
// end what is handed over here: so nothing of an earlier drain may be left.
func (a *Agent) mayDrill(ctx context.Context) error {
	ask, cancel := context.WithTimeout(ctx, proveTimeout)
	defer cancel()
	node, err := a.Node.Get(ask)
	if err != nil {
		return refuseDrill(err.Error())
	}
	state, err := drain.ReadState(node)
	switch {
	case err != nil:
		return refuseDrill("the node carries what this agent cannot read, and a drill would overwrite: " + err.Error())
	case state == nil:
		return nil
	case state.PutBack:
		return refuseDrill("pods are still to be tidied after an earlier drain; the agent's log says what is in the way")
	case Kind(state.Kind) == Drill:
		return refuseDrill(fmt.Sprintf("the node is in drill %q of pod %q", state.Notice, state.Agent))
	}
	return refuseDrill(fmt.Sprintf("the node still carries the cordon of %s %q; the agent's log says what is in the way of its end", state.Kind, state.Notice))
}

// beginDrill starts the drill that order asks for.
func (l *loop) beginDrill(ctx context.Context, order DrillOrder) {
	now := time.Now()
	notice := Notice{
		Provider: "ebbtide", Source: drillSource, ID: "drill-" + strings.ToLower(rand.Text()[:10]),
		Kind: Drill, State: Scheduled, Deadline: now.Add(order.Notice), DeadlineKind: Exact, FirstSeen: now,
	}
	l.Log.Info("Began drill", "notice", notice.ID, "deadline", notice.Deadline, "force", order.Force, "dryRun", order.DryRun)
	d := l.enact(ctx, notice, order, false)
	of, twin := l.current, *l.Agent
	twin.drill = d.run
	twin.Policy.Gentle = !order.Force
	go func() {
		defer close(of.done)
		if order.DryRun {
			d.rehearse(&twin, of)
			return
		}
		twin.handle(d.moving, notice, of.countdown)
		d.putBack(&twin, notice)
	}()
}

// resumeDrill puts the node back after a drill that an earlier agent was in when it
// ended.
func (l *loop) resumeDrill(ctx context.Context, notice Notice) {
	l.Log.Info("Found drill of an earlier agent", "notice", notice.ID)
	d := l.enact(ctx, notice, DrillOrder{}, true)
	of, twin := l.current, *l.Agent
	twin.drill = d.run
	go func() {
		defer close(of.done)
		d.putBack(&twin, notice)
	}()
}

// enact makes a drill the current interruption. It outlives ctx, whose end calls it off.
func (l *loop) enact(ctx context.Context, notice Notice, order DrillOrder, resumed bool) *drilling {
	l.endUndo()
	whole, end := context.WithCancelCause(context.WithoutCancel(ctx))
	moving, callOff := context.WithCancel(whole)
	d := &drilling{run: newDrillRun(), whole: whole, end: end, moving: moving, callOff: callOff}
	d.run.add(DrillEvent{Step: DrillBegan, Drill: &DrillStart{
		ID: notice.ID, Node: l.Node.Name(), Deadline: notice.Deadline, DrillOrder: order, Resumed: resumed,
	}})
	l.lastDrill = d.run
	l.current = &interruption{
		notice: notice, countdown: drain.NewCountdown(drain.NewBudget(notice.Deadline, time.Now())),
		done: make(chan struct{}), callOff: end, drill: d,
	}
	return d
}

// drilling says whether the current interruption is a drill.
func (l *loop) drilling() bool { return l.current != nil && l.current.drill != nil }

// drillEnded is closed when the drill that is under way has ended; nil without one.
func (l *loop) drillEnded() <-chan struct{} {
	if !l.drilling() {
		return nil
	}
	return l.current.done
}

// forgetDrill makes room for the next interruption after a drill. What is left of it on
// pods is seen to in the background.
func (l *loop) forgetDrill(ctx context.Context) {
	untidy := l.current.drill.untidy
	l.current = nil
	if untidy {
		l.undo(ctx, nil)
	}
}

// breakDrillOff ends the drill that is under way for a real notice, which goes on from
// where it is: what the drill did to the node is that notice's from now on.
func (l *loop) breakDrillOff(notice Notice) {
	l.Log.Info("Broke drill off for a real notice", "drill", l.current.notice.ID, "notice", notice.ID)
	l.current.drill.run.add(DrillEvent{Step: DrillTakenOver, Notice: &notice})
	l.current.drill.end(drain.ErrTakenOver)
	l.current = nil
}
