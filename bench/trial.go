package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/types"

	"github.com/ebbtide/ebbtide/e2e/lab"
)

const (
	// aftermath is how long is looked after the deadline at most: long enough to see
	// what is lost, and short of the minute in which Kubernetes takes a machine for
	// dead and its pods' replacement begins.
	aftermath = 10 * time.Second
	// calm goes before a notice, so that the build-up is no part of what is measured.
	calm = 3 * time.Second
	// quiet follows when all is over, for the last requests of whoever did it.
	quiet = 3 * time.Second
	// progressEvery is the time between two lines of progress.
	progressEvery = 10 * time.Second
)

// try plays a scene for a contender and returns its figures: those that it took down
// too when what comes after them fails.
func (b *bench) try(ctx context.Context, s scene, c contender) (figures Figures, err error) {
	set := &stage{lab: b.lab, scene: s, namespace: namespaceOf(s.key, c)}
	b.say("  %s: setting up", c.name)
	defer func() { err = errors.Join(err, set.clear(ctx)) }()
	if err := set.setUp(ctx); err != nil {
		return nil, err
	}
	kubeconfig, err := b.lab.ServiceAccount(ctx, set.namespace, c.account, c.rules())
	if err != nil {
		return nil, err
	}
	r, err := c.enter(ctx, b, set, kubeconfig)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, r.perish()) }()
	w, err := watchNamespace(ctx, b.lab.Client(), set.namespace)
	if err != nil {
		return nil, fmt.Errorf("watching namespace %q: %w", set.namespace, err)
	}
	defer w.close()
	t := &trial{stage: set, rival: r, say: func(format string, args ...any) {
		b.say("  "+c.name+": "+format, args...)
	}}
	if err := t.play(ctx); err != nil {
		return nil, err
	}
	seen := t.evidence()
	w.tell(&seen)
	if seen.requests, err = b.lab.Requests(ctx, c.user(set)); err != nil {
		return nil, err
	}
	return seen.figures(), nil
}

// namespaceOf is the namespace of a trial, and the beginning of its nodes' names.
func namespaceOf(key string, c contender) string {
	return strings.ReplaceAll(key+"-"+c.account, "_", "-")
}

// trial is one play of a scene.
type trial struct {
	stage *stage
	rival rival
	say   func(format string, args ...any)

	noticed, deadline, observed time.Time
}

// play gives notice, lets the machines die at its end, together with who works on
// them, and returns when there is nothing more to see.
func (t *trial) play(ctx context.Context) error {
	if err := pause(ctx, calm); err != nil {
		return err
	}
	// The metadata service speaks of whole seconds: at the turn of one, thirty are thirty.
	if err := pause(ctx, time.Until(time.Now().Truncate(time.Second).Add(time.Second))); err != nil {
		return err
	}
	t.noticed = time.Now()
	t.deadline = t.noticed.Truncate(time.Second).Add(t.stage.scene.notice)
	for _, node := range t.stage.doomed {
		node.DieAt(t.deadline)
	}
	t.rival.warn(ctx, t.deadline)
	t.say("notice: %s; doomed: %d node(s), %d pod(s)", t.stage.scene.notice, len(t.stage.doomed), len(t.stage.pods))
	if err := t.follow(ctx); err != nil {
		return err
	}
	t.observed = time.Now()
	return t.rival.perish()
}

// follow returns when all is over.
func (t *trial) follow(ctx context.Context) error {
	watching, stop := context.WithCancel(ctx)
	defer stop()
	records := t.stage.lab.Watch(watching)
	doom := time.NewTimer(time.Until(t.deadline))
	defer doom.Stop()
	end := time.NewTimer(time.Until(t.deadline.Add(aftermath)))
	defer end.Stop()
	ticker := time.NewTicker(progressEvery)
	defer ticker.Stop()
	count, over := newTally(t.stage), false
	for {
		select {
		case record, open := <-records:
			if !open {
				return context.Cause(ctx)
			}
			count.take(record)
			if !over && count.over() {
				over = true
				end.Reset(quiet)
			}
		case <-doom.C:
			if err := t.rival.perish(); err != nil {
				return err
			}
		case <-ticker.C:
			t.say("%3.0f s: %s", time.Since(t.noticed).Seconds(), count)
		case <-end.C:
			t.say("%3.0f s: %s; done", time.Since(t.noticed).Seconds(), count)
			return nil
		}
	}
}

// tally keeps count of a stage's pods while their records come in.
type tally struct {
	namespace string
	want      int // ready pods
	doomed    map[types.UID]lab.PodRecord
	ready     map[types.UID]bool
}

func newTally(s *stage) *tally {
	all, _ := s.scene.pods()
	t := &tally{namespace: s.namespace, want: all, doomed: map[types.UID]lab.PodRecord{}, ready: map[types.UID]bool{}}
	for _, pod := range s.pods {
		t.doomed[pod.uid] = lab.PodRecord{End: lab.Running}
	}
	return t
}

func (t *tally) take(record lab.PodRecord) {
	if record.Namespace != t.namespace {
		return
	}
	if _, doomed := t.doomed[record.UID]; doomed {
		t.doomed[record.UID] = record
	}
	delete(t.ready, record.UID)
	if isReady(record) {
		t.ready[record.UID] = true
	}
}

// over says whether every doomed pod has ended and is replaced.
func (t *tally) over() bool {
	if len(t.ready) < t.want {
		return false
	}
	for _, record := range t.doomed {
		if record.End == lab.Running {
			return false
		}
	}
	return true
}

// String tells the state on one line.
func (t *tally) String() string {
	told, ended, lost := 0, 0, 0
	for _, record := range t.doomed {
		if !record.ToldAt.IsZero() {
			told++
		}
		if record.End != lab.Running {
			ended++
		}
		if record.End == lab.Lost {
			lost++
		}
	}
	return fmt.Sprintf("%d of %d told to stop, %d ended, %d of them lost; %d of %d ready", told, len(t.doomed), ended, lost, len(t.ready), t.want)
}

// evidence returns what the nodes have recorded.
func (t *trial) evidence() evidence {
	seen := evidence{
		notice: t.stage.scene.notice, noticed: t.noticed, deadline: t.deadline, observed: t.observed,
		pods: t.stage.pods, desired: t.stage.desired, failures: t.rival.failures(),
	}
	for _, node := range t.stage.doomed {
		seen.nodes = append(seen.nodes, node.Name())
	}
	for _, record := range t.stage.lab.Records() {
		if record.Namespace == t.stage.namespace {
			seen.records = append(seen.records, record)
		}
	}
	return seen
}
