package aws

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"sync"
	"time"

	"golang.org/x/time/rate"

	"github.com/ebbtide/ebbtide/agent/metadata"
)

// How much is asked, over all items, tokens, proofs and repetitions: 1.5 requests a
// second over any minute (60 s * perSecond + burst = 90), and never more than seven
// within a second, of which a start is made. EC2 publishes no number; it throttles what
// all programs of an instance send together, so an agent on each node has to be modest.
const (
	perSecond = 1.4
	burst     = 6
)

// What the slower items leave for the next question about an interruption.
const (
	// spotsOwn is the item, and a token or a proof.
	spotsOwn = 2
	// spotsLeast is the item. An agent is not ready before each item was read once, so
	// that the first questions do not wait for more.
	spotsLeast = 1
)

// How long the slower items are silent once the service has said that it is asked too
// often: by the EC2 user guide, "Access instance metadata for an EC2 instance", ever
// longer.
const (
	firstQuiet = 5 * time.Second
	mostQuiet  = time.Minute
)

// errHeldBack is what becomes of a question that found no room within its poll.
var errHeldBack = errors.New("held back, so as not to ask too often")

// budget makes requests wait for their turn. It is safe for use by several goroutines.
type budget struct {
	now func() time.Time

	mu      sync.Mutex
	limiter *rate.Limiter
	quiet   time.Time     // until then only what leaves nothing over may ask
	pause   time.Duration // how long the last quiet was; 0 once an answer was another
}

func newBudget(now func() time.Time) *budget {
	return &budget{now: now, limiter: rate.NewLimiter(perSecond, burst)}
}

// take waits for room for one request, so that there is room for as many as spare
// afterwards. With a spare of 0 it does not keep quiet: one question a second is no part
// of what makes the service throttle, and a notice could be behind it. The error is
// errHeldBack, and why ctx has ended.
func (b *budget) take(ctx context.Context, spare int) error {
	for {
		pause := b.try(spare)
		if pause == 0 {
			return nil
		}
		if err := wait(ctx, pause); err != nil {
			return err
		}
	}
}

// wait lets pause pass. The error is that of heldBack, also where ctx ends in the same
// moment: what is sent then has no time for an answer, and would seem to have had none.
func wait(ctx context.Context, pause time.Duration) error {
	over := time.After(pause)
	if deadline, ok := ctx.Deadline(); ok && time.Until(deadline) <= pause {
		over = nil
	}
	select {
	case <-over:
	case <-ctx.Done():
	}
	if ctx.Err() != nil {
		return heldBack(ctx)
	}
	return nil
}

// heldBack is errHeldBack, and why ctx has ended.
func heldBack(ctx context.Context) error { return fmt.Errorf("%w: %w", errHeldBack, ctx.Err()) }

// try takes room if there is some. If not, it says after how long there may be.
func (b *budget) try(spare int) time.Duration {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	if spare > 0 && now.Before(b.quiet) {
		return b.quiet.Sub(now)
	}
	missing := float64(1+spare) - b.limiter.TokensAt(now)
	if missing <= 0 && b.limiter.AllowN(now, 1) {
		return 0
	}
	return max(time.Duration(missing/perSecond*float64(time.Second)), time.Millisecond)
}

// heed takes in how a request came out.
func (b *budget) heed(err error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	now := b.now()
	switch read, failed := errors.AsType[*metadata.ReadError](err); {
	case !failed || (read.Status != 0 && !throttles(read.Status)):
		b.pause = 0
	case throttles(read.Status) && !now.Before(b.quiet):
		b.pause = min(max(2*b.pause, firstQuiet), mostQuiet)
		b.quiet = now.Add(b.pause)
	}
}

// throttles says whether a status means that there are too many requests.
func throttles(status int) bool {
	return status == http.StatusTooManyRequests || status == http.StatusServiceUnavailable
}
