package main

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/e2e/agentrun"
)

// agents is the real agent on each doomed node, with a metadata service of its own.
type agents struct {
	metadata []*awstest.Server
	running  []*agentrun.Agent
}

func enterEbbtide(ctx context.Context, b *bench, s *stage, kubeconfig string) (rival, error) {
	a := &agents{metadata: make([]*awstest.Server, len(s.doomed)), running: make([]*agentrun.Agent, len(s.doomed))}
	starting, ctx := errgroup.WithContext(ctx)
	starting.SetLimit(atATime)
	for i, node := range s.doomed {
		starting.Go(func() error { return a.start(ctx, i, b, node.Name(), kubeconfig) })
	}
	if err := starting.Wait(); err != nil {
		return nil, errors.Join(err, a.perish())
	}
	return a, nil
}

// start starts the agent number i and returns when it is ready.
func (a *agents) start(ctx context.Context, i int, b *bench, node, kubeconfig string) (err error) {
	if a.metadata[i], err = awstest.Start(awstest.Options{}); err != nil {
		return err
	}
	a.running[i], err = agentrun.Start(ctx, agentrun.Options{
		Binary: b.program, Node: node, Kubeconfig: kubeconfig, Endpoint: a.metadata[i].URL(), Dir: b.dir,
	})
	if err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	return a.running[i].Ready(ctx)
}

func (a *agents) warn(_ context.Context, deadline time.Time) {
	for _, server := range a.metadata {
		server.Interrupt("terminate", deadline)
	}
}

func (a *agents) perish() error {
	var errs []error
	for _, agent := range a.running {
		if agent != nil {
			errs = append(errs, agent.Kill())
		}
	}
	for _, server := range a.metadata {
		if server != nil {
			server.Close()
		}
	}
	a.running, a.metadata = nil, nil
	return errors.Join(errs...)
}

// failures is none: what becomes of the pods says more than an agent's log.
func (a *agents) failures() int { return 0 }
