package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/ebbtide/ebbtide/agent/aws/awstest"
	"github.com/ebbtide/ebbtide/e2e/agentrun"
)

// agents is the real agent on each doomed node, with a metadata service of its own.
type agents struct {
	metadata []*awstest.Server
	running  []*agentrun.Agent
	nodes    []string
	logs     string // the folder in which to keep what they wrote; empty: none
}

func enterEbbtide(ctx context.Context, b *bench, s *stage, kubeconfig string) (rival, error) {
	a := &agents{
		metadata: make([]*awstest.Server, len(s.doomed)), running: make([]*agentrun.Agent, len(s.doomed)),
		nodes: make([]string, len(s.doomed)), logs: b.logs,
	}
	starting, ctx := errgroup.WithContext(ctx)
	starting.SetLimit(atATime)
	for i, node := range s.doomed {
		a.nodes[i] = node.Name()
		starting.Go(func() error { return a.start(ctx, i, b, kubeconfig) })
	}
	if err := starting.Wait(); err != nil {
		return nil, errors.Join(err, a.perish())
	}
	return a, nil
}

// start starts the agent number i and returns when it is ready.
func (a *agents) start(ctx context.Context, i int, b *bench, kubeconfig string) (err error) {
	if a.metadata[i], err = awstest.Start(awstest.Options{}); err != nil {
		return err
	}
	a.running[i], err = agentrun.Start(ctx, agentrun.Options{
		Binary: b.program, Node: a.nodes[i], Kubeconfig: kubeconfig, Endpoint: a.metadata[i].URL(), Dir: b.dir,
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
	for i, agent := range a.running {
		if agent != nil {
			errs = append(errs, agent.Kill(), a.keepLog(a.nodes[i], agent.Output()))
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

func (a *agents) keepLog(node, output string) error {
	if a.logs == "" {
		return nil
	}
	if err := os.MkdirAll(a.logs, 0o700); err != nil {
		return fmt.Errorf("creating a folder for logs: %w", err)
	}
	if err := os.WriteFile(filepath.Join(a.logs, node+".log"), []byte(output), 0o600); err != nil {
		return fmt.Errorf("keeping the log of node %q: %w", node, err)
	}
	return nil
}

// failures is none: what becomes of the pods says more than an agent's log.
func (a *agents) failures() int { return 0 }
