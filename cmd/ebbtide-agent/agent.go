package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"os"

	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/drill"
	"github.com/ebbtide/ebbtide/agent/report"
	"github.com/ebbtide/ebbtide/cmd/internal/process"
	"github.com/ebbtide/ebbtide/drain"
)

// run builds the agent that config describes and runs it until ctx ends.
func run(ctx context.Context, config Config) error {
	log := process.NewLogger(os.Stdout, config.Log)
	klog.SetSlogLogger(log.With("component", "client-go"))
	p, err := build(config, log)
	if err != nil {
		return err
	}

	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", config.Listen)
	if err != nil {
		return fmt.Errorf("listening for metrics and health: %w", err)
	}
	log.Info("Listening", "address", listener.Addr().String())

	group, serving := errgroup.WithContext(context.WithoutCancel(ctx))
	serving, stopServing := context.WithCancel(serving)
	group.Go(func() error { return process.Serve(serving, listener, agent.Handler(p.agent.Health, p.registry)) })
	group.Go(func() error {
		// Metrics and health are served for as long as a drain goes on.
		defer stopServing()
		if err := p.settle(ctx, config); err != nil {
			return stopped(ctx, err)
		}
		if orders := listenForDrills(ctx, config, p.agent); orders != nil {
			group.Go(func() error {
				// Without drills the agent does everything else, and metrics and health stay.
				if err := drill.Serve(serving, orders, p.agent.Drills); err != nil {
					log.Warn("Ceased to take orders for drills", "err", err)
				}
				return nil
			})
		}
		return p.agent.Run(ctx)
	})
	return group.Wait()
}

// stopped is err, unless it only says that ctx has ended.
func stopped(ctx context.Context, err error) error {
	if errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// listenForDrills makes the socket for drills. Without one an agent does everything
// else: by hand, or in a pod without that folder, there is none.
func listenForDrills(ctx context.Context, config Config, ebbtide *agent.Agent) net.Listener {
	if config.Drill.Socket == "" {
		return nil
	}
	listener, err := drill.Listen(ctx, config.Drill.Socket)
	if err != nil {
		ebbtide.Log.Warn("Left drills off", "err", err)
		return nil
	}
	ebbtide.Drills = agent.NewDrills()
	return listener
}

// parts are what run puts to work.
type parts struct {
	agent    *agent.Agent
	registry *prometheus.Registry
	provider *prometheus.GaugeVec
	// access is to the API server; what is asked by it is counted.
	access *rest.Config
}

// build returns the agent that config describes, but for its sources, with what is
// around it. It asks nothing of anybody yet.
func build(config Config, log *slog.Logger) (parts, error) {
	boot, err := agent.ThisBoot()
	if err != nil {
		return parts{}, err
	}
	registry := process.NewRegistry()
	metrics := agent.NewMetrics(registry, nil)

	access, err := process.Access(config.Kubeconfig)
	if err != nil {
		return parts{}, err
	}
	counted := rest.CopyConfig(access)
	counted.Wrap(metrics.CountRequests)
	node, err := newNode(config, counted, metrics)
	if err != nil {
		return parts{}, err
	}
	reporter, err := newReporter(config, access, node, registry, log)
	if err != nil {
		return parts{}, err
	}
	ebbtide := &agent.Agent{
		Node: node, Boot: boot,
		Policy: drain.Policy{
			DaemonSets: config.Drain.DaemonSets, VolumeDetach: config.Drain.VolumeDetach,
			HandOver: drain.HandOverPolicy(config.Drain.HandOver),
		},
		Rules: config.Respond.rules(), Critical: config.Advice.selection(),
		// Of a rehearsal Azure would take the word, and the machine.
		Acknowledge: config.Azure.Acknowledge && !config.DryRun,
		Concurrency: config.Drain.Concurrency,
		Reporter:    reporter,
		Health:      &agent.Health{Log: log}, Metrics: metrics, Log: log,
	}
	return parts{ebbtide, registry, newProviderGauge(registry), counted}, nil
}

// newReporter returns what a drain is told to: the log and, unless it was only
// rehearsed, the Events of the cluster.
func newReporter(
	config Config, access *rest.Config, node agent.Node, registry prometheus.Registerer, log *slog.Logger,
) (agent.Reporter, error) {
	reporters := report.All{report.Log{Log: log}}
	if config.DryRun {
		return reporters, nil
	}
	events, err := report.NewEvents(access, node, registry)
	if err != nil {
		return nil, err
	}
	return append(reporters, events), nil
}

// newNode returns the agent's node on the API server, or a rehearsing one. Its calls to
// pods are counted.
func newNode(config Config, access *rest.Config, metrics *agent.Metrics) (agent.Node, error) {
	client, err := drain.NewClient(access, config.NodeName)
	if err != nil {
		return nil, err
	}
	if config.DryRun {
		return metrics.CountCalls(drain.NewDryRun(client)), nil
	}
	return metrics.CountCalls(client), nil
}
