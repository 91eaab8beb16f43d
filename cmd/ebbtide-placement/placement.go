package main

import (
	"context"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/go-logr/logr"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/klog/v2"
	ctrllog "sigs.k8s.io/controller-runtime/pkg/log"

	"github.com/ebbtide/ebbtide/cmd/internal/process"
	"github.com/ebbtide/ebbtide/placement/audit"
	"github.com/ebbtide/ebbtide/placement/webhook"
)

// run builds the replica that config describes and runs it until ctx ends.
func run(ctx context.Context, config Config) error {
	log := process.NewLogger(os.Stdout, config.Log)
	klog.SetSlogLogger(log.With("component", "client-go"))
	ctrllog.SetLogger(logr.FromSlogHandler(log.With("component", "controller-runtime").Handler()))
	r, err := build(config, log)
	if err != nil {
		return err
	}
	return r.run(ctx)
}

// replica is one running copy of the program. What it does at the same time, and when
// each part ends, is all in [replica.run].
type replica struct {
	log      *slog.Logger
	registry *prometheus.Registry
	checks   webhook.Checks
	// known waits until what the auditor looks at was listed, and says whether it was.
	known   func(context.Context) bool
	auditor *audit.Runner
	// standing are the parts that the server and the auditor stand on: they end last.
	standing []part
	// listen is where metrics and health are served.
	listen string
	// server serves reviews at reviews; it is nil where no webhook places the pods.
	server  *webhook.Server
	reviews string
}

// part runs until its context ends, and returns nil then.
type part func(context.Context) error

// run runs every part until ctx ends or one of them fails. The auditor stops first, so
// that another replica may lead; then the server, which goes on for as long as it
// lingers; then what both stand on, metrics and health among it.
func (r *replica) run(ctx context.Context) error {
	listener, err := r.open(ctx, "metrics and health", r.listen)
	if err != nil {
		return err
	}
	acting := []part{r.audit}
	if r.server != nil {
		reviews, err := r.open(ctx, "reviews", r.reviews)
		if err != nil {
			_ = listener.Close()
			return err
		}
		acting = append(acting, func(ctx context.Context) error { return r.server.Serve(ctx, reviews) })
	}
	standing := append(r.standing, func(ctx context.Context) error { //nolint:gocritic // the replica runs once
		return process.Serve(ctx, listener, webhook.StatusHandler(r.checks, r.registry))
	})

	group, failing := errgroup.WithContext(context.WithoutCancel(ctx))
	holding, let := context.WithCancel(failing)
	defer let()
	for _, p := range standing {
		group.Go(func() error { return p(holding) })
	}
	// What acts ends when it is told to, and when something that it stands on has failed.
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	defer context.AfterFunc(failing, stop)()
	group.Go(func() error {
		defer let()
		together, ctx := errgroup.WithContext(ctx)
		for _, p := range acting {
			together.Go(func() error { return p(ctx) })
		}
		return together.Wait()
	})
	return group.Wait()
}

// audit audits what is known. Nobody leads who knows nothing.
func (r *replica) audit(ctx context.Context) error {
	if !r.known(ctx) {
		return nil // ctx has ended
	}
	return r.auditor.Run(ctx)
}

// open listens, and says where: with port 0 it is the system that chooses.
func (r *replica) open(ctx context.Context, what, address string) (net.Listener, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
	if err != nil {
		return nil, fmt.Errorf("listening for %s: %w", what, err)
	}
	r.log.Info("Listening", "for", what, "address", listener.Addr().String())
	return listener, nil
}
