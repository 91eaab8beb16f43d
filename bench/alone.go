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

	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/e2e/agentrun"
	"github.com/ebbtide/ebbtide/e2e/lab"
)

// watch is an agent that looks after a node of its own.
type watch struct {
	node  *lab.Node
	imds  *awstest.Server
	user  string
	agent *agentrun.Agent
}

// newWatch adds a node called name and starts an agent for it, with an account of
// its own so that its requests can be told apart.
func (b *bench) newWatch(ctx context.Context, name string) (*watch, error) {
	node, err := b.lab.AddNode(ctx, lab.NodeSpec{Name: name, Labels: map[string]string{"bench": name}})
	if err != nil {
		return nil, err
	}
	w := &watch{node: node, user: lab.ServiceAccountUser("ebbtide", name)}
	kubeconfig, err := b.lab.ServiceAccount(ctx, "ebbtide", name, agentRules())
	if err != nil {
		return nil, err
	}
	if w.imds, err = awstest.Start(awstest.Options{}); err != nil {
		return nil, err
	}
	w.agent, err = agentrun.Start(ctx, agentrun.Options{
		Binary: b.program, Node: name, Kubeconfig: kubeconfig, Endpoint: w.imds.URL(), Dir: b.dir,
	})
	if err != nil {
		return nil, errors.Join(err, w.end(ctx))
	}
	ready, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := w.agent.Ready(ready); err != nil {
		return nil, errors.Join(err, w.end(ctx))
	}
	return w, nil
}

// end ends what newWatch started.
func (w *watch) end(ctx context.Context) error {
	w.imds.Close()
	if w.agent == nil {
		return nil
	}
	return errors.Join(w.agent.Kill(), w.node.Remove(context.WithoutCancel(ctx)))
}

const forty = `
apiVersion: apps/v1
kind: Deployment
metadata: {name: web}
spec:
  replicas: 40
  selector: {matchLabels: {app: web}}
  template:
    metadata: {labels: {app: web}}
    spec:
      nodeSelector: {bench: drain}
      terminationGracePeriodSeconds: 10
      containers: [{name: web, image: none}]
---
apiVersion: policy/v1
kind: PodDisruptionBudget
metadata: {name: web}
spec: {maxUnavailable: 100%, selector: {matchLabels: {app: web}}}
`

// drain counts what a drain of 40 pods asks of the API server.
func (b *bench) drain(ctx context.Context) (err error) {
	w, err := b.newWatch(ctx, "drain")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.end(ctx)) }()
	ctx, cancel := context.WithTimeout(ctx, 2*patience)
	defer cancel()
	if err := b.lab.Apply(ctx, "default", forty); err != nil {
		return err
	}
	if err := b.lab.WaitPods(ctx, "default", "app=web", lab.AllReady(40)); err != nil {
		return err
	}
	seen := evidence{noticed: time.Now(), pods: make([]doomedPod, 40)}
	w.imds.Interrupt("terminate", seen.noticed.Add(2*time.Minute))
	if _, err := w.agent.WaitLog(ctx, "Drained node"); err != nil {
		return err
	}
	if seen.requests, err = b.lab.Requests(ctx, w.user); err != nil {
		return err
	}
	figures := Figures{figurePods: 40}
	seen.countRequests(figures)
	b.results.put("drain", ebbtide, figures)
	return nil
}

const (
	// pollInterval is the agent's default.
	pollInterval = time.Second
	// cordonLanes is how many runs are under way at a time. They wait nearly all
	// the time and hardly get in each other's way.
	cordonLanes = 5
)

// cordon measures the time from the moment at which a notice can be read to the
// moment at which a watcher of the API server sees the node cordoned. The runs
// spread that moment evenly over the time between two polls, where chance would
// need many more of them to do so.
func (b *bench) cordon(ctx context.Context) error {
	runs := make([]cordonRun, b.runs)
	lanes, ctx := errgroup.WithContext(ctx)
	lanes.SetLimit(cordonLanes)
	for i := range runs {
		lanes.Go(func() (err error) {
			offset := time.Duration((float64(i) + 0.5) / float64(b.runs) * float64(pollInterval))
			runs[i], err = b.cordonOnce(ctx, i, offset)
			b.say("  notice %d of %d: %.3f s", i+1, b.runs, runs[i].took.Seconds())
			return err
		})
	}
	if err := lanes.Wait(); err != nil {
		return err
	}
	var took []float64
	var mean, peak float64
	for _, one := range runs {
		took, mean, peak = append(took, one.took.Seconds()), mean+one.mean/float64(b.runs), max(peak, one.peak)
	}
	slices.Sort(took)
	b.results.put("f", ebbtide, Figures{
		figureP50: round(quantile(took, 0.5)), figureP99: round(quantile(took, 0.99)),
		figurePolls: round(mean), figurePollsPeak: round(peak),
	})
	return nil
}

// cordonRun is the figures of one notice.
type cordonRun struct {
	took       time.Duration
	mean, peak float64
}

func (b *bench) cordonOnce(ctx context.Context, i int, offset time.Duration) (one cordonRun, err error) {
	w, err := b.newWatch(ctx, fmt.Sprintf("cordon-%d", i))
	if err != nil {
		return one, err
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
	// Four seconds show the pace of the polls; the notice comes after the last.
	if err := pause(ctx, 4*pollInterval); err != nil {
		return one, err
	}
	log := w.imds.Log()
	next := log[len(log)-1].At.Add(pollInterval)
	if err := pause(ctx, time.Until(next.Add(offset))); err != nil {
		return one, err
	}
	readable := time.Now()
	w.imds.Interrupt("terminate", readable.Add(2*time.Minute))
	if err := <-seen; err != nil {
		return one, err
	}
	if err := pause(ctx, 2*pollInterval); err != nil {
		return one, err
	}
	log = w.imds.Log()
	lasted := log[len(log)-1].At.Sub(log[0].At)
	return cordonRun{
		took: at.Sub(readable),
		mean: float64(len(log)-1) / lasted.Seconds(), peak: float64(w.imds.Peak(10*time.Second)) / 10,
	}, nil
}

// quantile returns the smallest value of sorted that the share q of them does not
// exceed.
func quantile(sorted []float64, q float64) float64 {
	return sorted[max(0, int(math.Ceil(q*float64(len(sorted))))-1)]
}

// idle measures what an agent costs that has nothing to do.
func (b *bench) idle(ctx context.Context) (err error) {
	w, err := b.newWatch(ctx, "idle")
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, w.end(ctx)) }()
	// Starting is not idling.
	if err := pause(ctx, 10*time.Second); err != nil {
		return err
	}
	before, err := b.lab.Requests(ctx, w.user)
	if err != nil {
		return err
	}
	busyBefore, err := processorTime(w.agent.PID())
	if err != nil {
		return err
	}
	w.imds.ResetRequests()
	for left := b.idleFor; left > 0; left -= time.Minute {
		b.say("  %s to go", left)
		if err := pause(ctx, min(left, time.Minute)); err != nil {
			return err
		}
	}
	after, err := b.lab.Requests(ctx, w.user)
	if err != nil {
		return err
	}
	requests := 0
	for _, n := range w.imds.Requests() {
		requests += n
	}
	busy, err := processorTime(w.agent.PID())
	if err != nil {
		return err
	}
	memory, err := w.agent.Memory()
	if err != nil {
		return err
	}
	const mib = 1 << 20
	b.results.put("g", ebbtide, Figures{
		figureAPIRequests: float64(len(after) - len(before)),
		figureResident:    round(float64(memory.Resident) / mib),
		figureAnonymous:   round(float64(memory.Anonymous) / mib),
		figureCPU:         round((busy - busyBefore).Seconds() * 1000 / b.idleFor.Seconds()),
		figurePolls:       round(float64(requests) / b.idleFor.Seconds()),
	})
	return nil
}
