package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"time"

	"golang.org/x/sync/errgroup"
	corev1 "k8s.io/api/core/v1"
)

// cordonLanes is how many runs are under way at a time. They wait nearly all
// the time and hardly get in each other's way.
const cordonLanes = 5

// cordon measures the time from the moment at which a notice can be read, by the
// metadata service's own account, to the moment at which a watcher of the API server
// sees the node cordoned. The runs spread that moment evenly over the time between two
// requests of the agent, where chance would need many more of them to do so.
func (b *bench) cordon(ctx context.Context, c cloud) error {
	took := make([]float64, b.runs) // in seconds
	lanes, ctx := errgroup.WithContext(ctx)
	lanes.SetLimit(cordonLanes)
	for i := range took {
		lanes.Go(func() error {
			offset := time.Duration((float64(i) + 0.5) / float64(b.runs) * float64(c.every))
			one, err := b.cordonOnce(ctx, c, i, offset)
			took[i] = one.Seconds()
			b.say("  notice %d of %d: %.3f s", i+1, b.runs, took[i])
			return err
		})
	}
	if err := lanes.Wait(); err != nil {
		return err
	}
	slices.Sort(took)
	b.results.put("f"+c.suffix, ebbtide, Figures{
		figureRuns: float64(len(took)), figureP50: round(quantile(took, 0.5)), figureP99: round(quantile(took, 0.99)),
	})
	return nil
}

// beforehand is how long an agent is watched before its notice comes: by then its polls
// have their pace.
const beforehand = 4 * time.Second

func (b *bench) cordonOnce(ctx context.Context, c cloud, i int, offset time.Duration) (took time.Duration, err error) {
	w, err := b.newWatch(ctx, c, fmt.Sprintf("cordon-%s-%d", c.provider, i))
	if err != nil {
		return 0, err
	}
	defer func() { err = errors.Join(err, w.end(ctx)) }()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()

	seen := make(chan error, 1)
	var at time.Time
	go func() {
		seen <- b.lab.WaitNode(ctx, w.node.Name(), func(node *corev1.Node) bool {
			at = time.Now()
			return node.Spec.Unschedulable
		})
	}()
	if err := pause(ctx, beforehand); err != nil {
		return 0, err
	}
	if err := pause(ctx, time.Until(w.asked().Add(c.every).Add(offset))); err != nil {
		return 0, err
	}
	w.metadata.interrupt()
	readable := w.metadata.NoticeReadableAt()
	if err := <-seen; err != nil {
		return 0, err
	}
	return at.Sub(readable), nil
}

// quantile returns the smallest value of sorted that the share q of them does not
// exceed.
func quantile(sorted []float64, q float64) float64 {
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}
