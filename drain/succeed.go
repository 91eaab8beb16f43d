package drain

import (
	"context"
	"errors"
	"fmt"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
)

// Successor hands pods over, as a [Mover] uses it; [HandOvers] does it on the API
// server. Undo waits for a Begin of the same pod that is under way, whose ctx has
// ended by then: after it nothing is handed over that was not before.
type Successor interface {
	Begin(ctx context.Context, pod *corev1.Pod) (Refusal, error)
	Await(ctx context.Context, pod PodRef) (end Succession, why string, err error)
	Undo(ctx context.Context, pod PodRef) (undone bool, err error)
}

// handStage is how far a pod's hand-over has come.
type handStage int

const (
	// untried: it has not been thought of, or may be tried again.
	untried handStage = iota
	// handing: it is being begun, or its replacement awaited.
	handing
	// succeeded: its replacement stands in for it.
	succeeded
	// refused: it leaves without one.
	refused
)

const (
	// blockedFor is how long a pod waits for a budget that may still open by
	// itself before it is handed over: a hand-over costs ten requests and a pod.
	blockedFor = 10 * time.Second
	// handOverAgain is the pause before a hand-over that was refused for now, or
	// that could not be asked for, is tried again.
	handOverAgain = 2 * time.Second
	// undoTimeout bounds the undoing of one hand-over.
	undoTimeout = 5 * time.Second
)

// handedOver is the end of a goroutine that hands a pod over.
type handedOver struct {
	of      *progress
	refusal Refusal
	end     Succession
	why     string
	err     error
}

// handOver begins the hand-over of every pod whose turn it is.
func (r *run) handOver(ctx context.Context, now time.Time) {
	for _, p := range r.moves {
		if !p.wantsHandOver(now) {
			continue
		}
		pod, known := r.Pods(p.UID)
		if !known {
			continue
		}
		handing, cancel := context.WithCancel(ctx)
		p.beginHandOver(cancel)
		r.calls.Go(func() {
			defer cancel()
			result := r.succeed(handing, pod)
			result.of = p
			select {
			case r.handOvers <- result:
			case <-ctx.Done():
			}
		})
	}
}

// succeed hands one pod over, awaits its replacement, and takes the pod back when
// there will be none.
func (r *run) succeed(ctx context.Context, pod *corev1.Pod) handedOver {
	ref := refOf(pod)
	refusal, err := r.Successor.Begin(ctx, pod)
	if err != nil || refusal != "" && refusal != AlreadyHanded {
		return handedOver{refusal: refusal, err: err}
	}
	r.Log.InfoContext(ctx, "Handed pod over", "pod", ref.String())
	end, why, err := r.Successor.Await(ctx, ref)
	if err == nil && end == Failed {
		// At once: while the pod is another's, its ReplicaSet backs off.
		r.takeBack(ctx, ref)
	}
	return handedOver{end: end, why: why, err: err}
}

func (r *run) takeBack(ctx context.Context, ref PodRef) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), undoTimeout)
	defer cancel()
	switch undone, err := r.Successor.Undo(ctx, ref); {
	case err != nil && !undone:
		r.Log.ErrorContext(ctx, "Left pod handed over", "pod", ref.String(), "err", err)
	case err != nil:
		r.Log.WarnContext(ctx, "Took pod back and left it dear to its ReplicaSet", "pod", ref.String(), "err", err)
	default:
		r.Log.InfoContext(ctx, "Took pod back", "pod", ref.String(), "undone", undone)
	}
}

// hearHandOver takes in how a hand-over has ended.
func (r *run) hearHandOver(result handedOver, now time.Time) {
	p := result.of
	if p.phase == told || p.phase == done {
		return // it is on its way already
	}
	before := p.out.HandOver
	p.hearHandOver(result, now)
	log := r.Log.Info
	if result.refusal.Passes() && p.out.HandOver == before {
		log = r.Log.Debug // it is asked for every two seconds, and this is no news
	}
	log("Hand-over ended", "pod", p.String(), "handOver", p.out.HandOver, "why", result.why, "err", result.err)
}

// ErrTakenOver is the cause of the end of a drain's context where another drain of the
// same node goes on from where that one is: pods that are handed over stay so. It is a
// kind of context.Canceled.
var ErrTakenOver = fmt.Errorf("another drain of the node took over: %w", context.Canceled)

// giveBack takes back, side by side, every pod whose drain was called off and that
// may be handed over: a hand-over that came to nothing as far as anybody knows may
// have been carried out all the same, its reply being lost.
func (r *run) giveBack(ctx context.Context) {
	if errors.Is(context.Cause(ctx), ErrTakenOver) {
		return
	}
	for _, p := range r.moves {
		if p.out.Path == CalledOff && (p.hand != untried || !p.handAgain.IsZero()) {
			r.calls.Go(func() { r.takeBack(ctx, p.PodRef) })
		}
	}
}

// wantsHandOver says whether the pod's hand-over is to begin now: always where
// its author or the policy wants that, else when its budget does not let it go
// and cannot by itself, or has not for some time. What another agent has begun is
// gone on with in any case.
func (p *progress) wantsHandOver(now time.Time) bool {
	switch {
	case p.handOver == HandOverNever || p.hand != untried || p.phase != waiting:
		return false
	case !now.Before(p.ForceAt) || now.Before(p.handAgain) || p.announcing(now):
		return false
	case p.handOver == HandOverAlways:
		return true
	default:
		return len(p.guards) == 1 && p.guards[0].blocks(now)
	}
}

// handOverFor returns the policy for a pod in this drain: never where nobody can
// hand it over, always where an earlier agent has begun to.
func (r *run) handOverFor(pod *corev1.Pod) HandOverPolicy {
	if r.Successor == nil || pod == nil {
		return HandOverNever
	}
	if handOver, err := HandOverOf(pod); err == nil && handOver != nil {
		return HandOverAlways
	}
	return PolicyFor(pod, r.Policy.HandOver)
}

// held says whether the pod's eviction waits for its replacement.
func (p *progress) held() bool {
	return p.hand == handing || p.hand == untried && p.handOver == HandOverAlways
}

// nextHandOver says when a hand-over may be due that is not due now.
func (r *run) nextHandOver(now time.Time) time.Time {
	next := far(now)
	for _, p := range r.moves {
		next = earliest(next, p.mayHandOver(now))
	}
	return next
}

// mayHandOver says when the answer of wantsHandOver can change by time alone.
func (p *progress) mayHandOver(now time.Time) time.Time {
	if p.handOver == HandOverNever || p.hand != untried || p.phase != waiting {
		return far(now)
	}
	at := p.handAgain
	if len(p.guards) == 1 && p.guards[0].closed() && !p.guards[0].tight && p.handOver != HandOverAlways {
		at = latest(at, p.guards[0].closedSince.Add(blockedFor))
	}
	if !at.After(now) {
		return far(now)
	}
	return at
}

func (p *progress) beginHandOver(cancel context.CancelFunc) {
	p.hand, p.stopHanding = handing, cancel
}

func (p *progress) hearHandOver(result handedOver, now time.Time) {
	p.stopHanding = nil
	switch {
	case apierrors.IsConflict(result.err):
		// The pod was written meanwhile, as a kubelet does now and then.
		p.hand, p.handAgain = untried, now.Add(contendedDelay)
	case result.err != nil || result.refusal.Passes():
		p.hand, p.handAgain = untried, now.Add(p.unhurried(handOverAgain, now))
		p.out.HandOver = string(result.refusal)
	case result.refusal != "":
		p.hand, p.out.HandOver = refused, string(result.refusal)
	case result.end == Failed:
		p.hand, p.out.HandOver = refused, string(Failed)
	default:
		p.hand, p.out.HandOver = succeeded, string(Ready)
		if p.phase == waiting {
			p.retryAt = now
		}
	}
}
