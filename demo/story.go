package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/drain"
	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// run plays the demo: a machine gets notice, and dies when that is over. Everything
// that it started is gone when it returns.
func run(ctx context.Context, screen *screen, notice time.Duration) (result Result, err error) {
	s := &stage{}
	defer func() { err = errors.Join(err, s.tearDown()) }()
	if err := s.setUp(ctx, screen); err != nil {
		return Result{}, err
	}
	seen, err := s.play(ctx, screen, notice)
	if err != nil {
		return Result{}, err
	}
	return newResult(seen), nil
}

// play gives the notice, lets the machine die, and returns what was seen meanwhile.
func (s *stage) play(ctx context.Context, screen *screen, notice time.Duration) (evidence, error) {
	// The metadata service speaks of whole seconds: at the turn of one, forty are forty.
	if err := wait(ctx, time.Until(time.Now().Truncate(time.Second).Add(time.Second))); err != nil {
		return evidence{}, err
	}
	began := time.Now()
	deadline := began.Truncate(time.Second).Add(notice)
	s.doomed.DieAt(deadline)
	s.metadata.Interrupt("terminate", deadline)

	clock := &timeline{screen: screen, began: began, deadline: deadline}
	clock.say(began, loud, "notice    the cloud will take %s away in %d s", doomed, int(notice.Seconds()))
	watching, stop := context.WithCancel(ctx)
	var watchers sync.WaitGroup
	var cordoned time.Time
	watchers.Go(func() { cordoned = s.watchCordon(watching) })
	watchers.Go(func() { clock.tellPods(s.lab.Watch(watching)) })
	watchers.Go(func() {
		for record := range s.agent.Log(watching) {
			clock.tellAgent(record)
		}
	})
	watchers.Go(func() { clock.run(watching) })
	err := wait(ctx, time.Until(deadline))
	if err == nil {
		// The agent runs on the machine, and goes with it.
		err = s.agent.Kill()
	}
	if err == nil {
		err = s.allEnded(ctx)
	}
	stop()
	watchers.Wait()
	screen.status("")
	if err != nil {
		return evidence{}, err
	}
	clock.say(deadline, loud, "the end   %s is gone", doomed)
	return s.gather(ctx, evidence{noticed: began, deadline: deadline, cordoned: cordoned})
}

// watchCordon returns when it saw the node unschedulable, or a zero time.
func (s *stage) watchCordon(ctx context.Context) time.Time {
	if s.lab.WaitNode(ctx, doomed, func(node *corev1.Node) bool { return node.Spec.Unschedulable }) != nil {
		return time.Time{}
	}
	return time.Now()
}

// allEnded returns when every pod of the dead machine has its end in the records.
func (s *stage) allEnded(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	running := func(r lab.PodRecord) bool { return r.Node == doomed && r.End == lab.Running }
	for range s.lab.Watch(ctx) { // Something has changed: what does it come to?
		if !slices.ContainsFunc(s.lab.Records(), running) {
			return nil
		}
	}
	return fmt.Errorf("waiting for the end of the pods on %q: %w", doomed, context.Cause(ctx))
}

// gather completes seen by what is asked for after the end.
func (s *stage) gather(ctx context.Context, seen evidence) (evidence, error) {
	var err error
	seen.kubernetes = s.lab.Version()
	seen.records = s.lab.Records()
	seen.metadata = s.metadata.Log()
	if seen.requests, err = s.lab.Requests(ctx, lab.ServiceAccountUser(agentNamespace, agentName)); err != nil {
		return seen, err
	}
	for _, record := range s.agent.Records() {
		if !isReport(record) {
			continue
		}
		seen.report = &drain.Report{}
		return seen, record.Decode("report", seen.report)
	}
	return seen, nil
}

// isReport says whether a line of the agent's log carries its report.
func isReport(record agentrun.Record) bool { return record.Text("report") != "" }

// wait returns after a time, or with the reason why ctx ended.
func wait(ctx context.Context, delay time.Duration) error {
	timer := time.NewTimer(delay)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
