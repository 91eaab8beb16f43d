package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/e2e/placementrun"
)

// The ways in which pods are placed, here and in the figures.
const (
	neither         = "neither"
	webhook         = "webhook"
	admissionPolicy = "admission_policy"
)

// way is what is in force while the pods of a block are created.
//
// Only one of them is, at any moment. A webhook and an admission policy that stood side
// by side in one cluster, each for a namespace of its own, would each be asked whether
// it is meant for the other's pods and for those that are left alone, and their cost
// would be in what they are compared with. So each block sets up its own, program and
// all, and waits until it is in force; "neither" has no program, so that what it asks of
// the machine on the side counts as added too.
type way struct {
	name, help string
	// config is laid over the program's file; nil runs no program.
	config func(ctx context.Context) (map[string]any, error)
	// fits says whether a pod came to be what it should, this way.
	fits func(created, written *corev1.Pod) bool
}

var ways = []way{
	{name: neither, help: "nothing is installed but the policies, which nobody acts on", fits: isUntouched},
	{
		name: webhook, config: calledDirectly, fits: isPlaced,
		help: "the placement program serves the webhook, one replica on this machine",
	},
	{
		name: admissionPolicy, config: notCalled, fits: isPlaced,
		help: "the placement program keeps a MutatingAdmissionPolicy, which the API server evaluates",
	},
}

func wayNames() []string {
	var names []string
	for _, w := range ways {
		names = append(names, w.name)
	}
	return names
}

const (
	// warmUp is how many pods are created before those that count: connections, caches
	// and compiled expressions are there then, as they are in a cluster that lives.
	warmUp = 50
	// settled is the pause before what counts.
	settled = time.Second
)

// block is what was seen while the pods of one block were created, one way.
type block struct {
	batch
	calls int // of the webhook
}

// admission measures what placement adds to the creation of a pod. The ways take turns,
// block by block, in one cluster; each run begins with another of them, so that none is
// always the first. Each client creates as fast as it can, unless it is to keep a pace: then
// a time is what one pod costs, where else a small machine is busy throughout, and a time
// is the work of all clients' pods.
func (b *bench) admission(ctx context.Context) error {
	site, err := b.openSite(ctx)
	if err != nil {
		return err
	}
	blocks := map[string][]block{}
	for run := range b.blocks {
		for i := range ways {
			w := ways[(run+i)%len(ways)]
			one, err := site.block(ctx, w, b.creates, b.pace)
			if err != nil {
				return fmt.Errorf("creating pods with %s in force: %w", w.name, err)
			}
			b.say("  run %d of %d, %s: p50 %.2f ms, p99 %.2f ms", run+1, b.blocks, w.name, one.quantile(0.5), one.quantile(0.99))
			if one.failed > 0 {
				b.say("  %d of %d failed, as in: %v", one.failed, b.creates, one.failure)
			}
			blocks[w.name] = append(blocks[w.name], one)
		}
	}
	for _, w := range ways {
		base := blocks[neither]
		if w.name == neither {
			base = nil
		}
		b.results.put("admission", w.name, summarize(blocks[w.name], base))
	}
	return nil
}

// block puts a way in force, creates the pods, and takes both away again.
func (s *site) block(ctx context.Context, w way, creates int, pace time.Duration) (block, error) {
	if w.config == nil {
		return s.createBlock(ctx, w, creates, pace)
	}
	config, err := w.config(ctx)
	if err != nil {
		return block{}, err
	}
	replica, err := s.start(ctx, config)
	if err != nil {
		return block{}, errors.Join(err, s.withdraw(ctx))
	}
	one, err := s.createBlock(ctx, w, creates, pace)
	return one, errors.Join(err, s.stop(ctx, replica), s.withdraw(ctx))
}

// createBlock creates the pods of a block and deletes them.
func (s *site) createBlock(ctx context.Context, w way, creates int, pace time.Duration) (one block, err error) {
	if err := s.waitInForce(ctx, w.fits); err != nil {
		return one, err
	}
	defer func() { err = errors.Join(err, s.clearPods(ctx)) }()
	c := s.creator(w.fits)
	if _, err := c.create(ctx, warmUp); err != nil {
		return one, err
	}
	before, err := countCalls(ctx, s.client)
	if err != nil {
		return one, err
	}
	if err := pause(ctx, settled); err != nil {
		return one, err
	}
	c.pace = pace
	if one.batch, err = c.create(ctx, creates); err != nil {
		return one, err
	}
	after, err := countCalls(ctx, s.client)
	one.calls = after.since(before).all
	return one, err
}

// summarize makes the figures of a way: of times, the median of its blocks'. base are
// the blocks of the way that it is compared with; nil, if it is that one.
func summarize(blocks, base []block) Figures {
	var created, failed, misplaced, calls int
	for i := range blocks {
		created += len(blocks[i].took)
		failed += blocks[i].failed
		misplaced += blocks[i].misplaced
		calls += blocks[i].calls
	}
	figures := Figures{
		figureCreates: float64(created + failed), figureFailedCreates: float64(failed), figureMisplaced: float64(misplaced),
	}
	figures.putRatio(figureCallsPerCreate, float64(calls), created+failed)
	for q, names := range map[float64]struct{ time, added string }{
		0.5: {figureCreateP50, figureAddedP50}, 0.99: {figureCreateP99, figureAddedP99},
	} {
		var times, differences []float64
		for i := range blocks {
			times = append(times, blocks[i].quantile(q))
			// Of blocks of one run, which are seconds apart: what else changes on the
			// machine from run to run is in neither.
			if base != nil {
				differences = append(differences, blocks[i].quantile(q)-base[i].quantile(q))
			}
		}
		figures.putMedian(names.time, times)
		figures.putMedian(names.added, differences)
	}
	return figures
}

// calledDirectly is the configuration of a replica that the API server calls with nobody
// between them: at a port that is free now.
func calledDirectly(ctx context.Context) (map[string]any, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("looking for a free port: %w", err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		return nil, fmt.Errorf("looking for a free port: %w", err)
	}
	return map[string]any{
		"webhook": map[string]any{"listen": address, "url": "https://" + address, "linger": "0s"},
	}, nil
}

// notCalled is the configuration of a replica that only writes what is to be evaluated.
func notCalled(context.Context) (map[string]any, error) {
	return map[string]any{"mode": placementrun.AdmissionPolicy}, nil
}
