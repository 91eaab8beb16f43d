package main

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	typedcorev1 "k8s.io/client-go/kubernetes/typed/core/v1"
)

// batch is what became of pods that were to be created.
type batch struct {
	// took are the times of the creations that succeeded, in milliseconds and in order.
	took []float64
	// failed counts the others; failure is why one of them did.
	failed  int
	failure error
	// misplaced counts the created pods that are not what they should be.
	misplaced int
}

// quantile returns a quantile of the times, or NaN if there are none.
func (b *batch) quantile(q float64) float64 {
	if len(b.took) == 0 {
		return math.NaN()
	}
	return quantile(b.took, q)
}

func (b *batch) add(other batch) {
	b.took = append(b.took, other.took...)
	slices.Sort(b.took)
	b.failed += other.failed
	b.misplaced += other.misplaced
	if b.failure == nil {
		b.failure = other.failure
	}
}

// clients create pods at the same time.
const clients = 8

// creator creates pods in one namespace and looks at what became of them.
type creator struct {
	pods    typedcorev1.PodInterface
	written *corev1.Pod
	// fits says whether a pod came to be what it should.
	fits func(created, written *corev1.Pod) bool
	// pace is the time between two pods of one client, whose turns are spread evenly
	// over those of the others; 0 lets each create as fast as it can.
	pace time.Duration
	// deletes has each pod deleted when it was created.
	deletes bool
}

// create creates n pods. An error says that the rest of them was not tried: one that
// cannot be created is no error.
func (c creator) create(ctx context.Context, n int) (batch, error) {
	var (
		all     batch
		errs    []error
		mu      sync.Mutex
		working sync.WaitGroup
	)
	began := time.Now()
	for client := range clients {
		working.Go(func() {
			var own batch
			var err error
			for i := client; i < n && err == nil; i += clients {
				if err = pause(ctx, time.Until(began.Add(time.Duration(i)*c.pace/clients))); err == nil {
					err = c.one(ctx, &own)
				}
			}
			mu.Lock()
			defer mu.Unlock()
			all.add(own)
			errs = append(errs, err)
		})
	}
	working.Wait()
	return all, errors.Join(errs...)
}

// one creates a pod and takes down how that went.
func (c creator) one(ctx context.Context, to *batch) error {
	own := c.written.DeepCopy() // a client writes to what it encodes
	began := time.Now()
	created, err := c.pods.Create(ctx, own, metav1.CreateOptions{})
	took := time.Since(began)
	if err != nil {
		to.add(batch{failed: 1, failure: err})
		return nil //nolint:nilerr // That pods cannot be created is what is looked for.
	}
	to.took = append(to.took, float64(took)/float64(time.Millisecond))
	if !c.fits(created, c.written) {
		to.misplaced++
	}
	if !c.deletes {
		return nil
	}
	err = c.pods.Delete(ctx, created.Name, metav1.DeleteOptions{GracePeriodSeconds: new(int64)})
	if err != nil && !apierrors.IsNotFound(err) {
		return fmt.Errorf("deleting pod %q: %w", created.Name, err)
	}
	return nil
}
