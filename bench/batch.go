package main

import (
	"context"
	"math"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"
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

// creator creates pods in one namespace and looks at what became of them.
type creator struct {
	pods    typedcorev1.PodInterface
	written *corev1.Pod
	// fits says whether a pod came to be what it should.
	fits func(created, written *corev1.Pod) bool
}

// create creates n pods, as many at a time as there are clients.
func (c creator) create(ctx context.Context, n int) batch {
	var (
		all     batch
		mu      sync.Mutex
		working sync.WaitGroup
	)
	left := make(chan struct{}, n)
	for range n {
		left <- struct{}{}
	}
	close(left)
	for range clients {
		working.Go(func() {
			var own batch
			for range left {
				_ = c.one(ctx, &own)
			}
			mu.Lock()
			defer mu.Unlock()
			all.add(own)
		})
	}
	working.Wait()
	return all
}

// one creates a pod, takes down how that went, and returns the pod; nil if there is none.
func (c creator) one(ctx context.Context, to *batch) *corev1.Pod {
	began := time.Now()
	created, err := c.pods.Create(ctx, c.written, metav1.CreateOptions{})
	took := time.Since(began)
	if err != nil {
		to.add(batch{failed: 1, failure: err})
		return nil
	}
	to.took = append(to.took, float64(took)/float64(time.Millisecond))
	if !c.fits(created, c.written) {
		to.misplaced++
	}
	return created
}
