package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"golang.org/x/sync/errgroup"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	"k8s.io/klog/v2"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/aws"
	"github.com/ebbtide/ebbtide/agent/report"
	"github.com/ebbtide/ebbtide/drain"
)

// run builds the agent that config describes and runs it until ctx ends.
func run(ctx context.Context, config Config) error {
	log := newLogger(os.Stdout, config.Log)
	klog.SetSlogLogger(log.With("component", "client-go"))
	ebbtide, registry, err := build(config, log)
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
	group.Go(func() error { return serve(serving, listener, agent.Handler(ebbtide.Health, registry)) })
	group.Go(func() error {
		// Metrics and health are served for as long as a drain goes on.
		defer stopServing()
		return ebbtide.Run(ctx)
	})
	return group.Wait()
}

// build returns the agent that config describes, and the registry of its metrics.
// It asks nothing of anybody yet.
func build(config Config, log *slog.Logger) (*agent.Agent, *prometheus.Registry, error) {
	boot, err := agent.ThisBoot()
	if err != nil {
		return nil, nil, err
	}
	source, err := aws.NewSpot(aws.Options{Endpoint: config.AWS.Endpoint, AllowIMDSv1: config.AWS.AllowIMDSv1})
	if err != nil {
		return nil, nil, fmt.Errorf("making the AWS source: %w", err)
	}
	sources := []agent.Source{source}

	registry := prometheus.NewRegistry()
	registry.MustRegister(collectors.NewGoCollector(), buildInfo(),
		collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	metrics := agent.NewMetrics(registry, sources)

	access, err := restConfig(config.Kubeconfig)
	if err != nil {
		return nil, nil, err
	}
	node, err := newNode(config, access, metrics)
	if err != nil {
		return nil, nil, err
	}
	reporter, err := newReporter(config, access, node, registry, log)
	if err != nil {
		return nil, nil, err
	}
	return &agent.Agent{
		Node: node, Sources: sources, PollInterval: config.AWS.PollInterval, Boot: boot,
		Policy: drain.Policy{
			DaemonSets: config.Drain.DaemonSets, VolumeDetach: config.Drain.VolumeDetach,
			HandOver: drain.HandOverPolicy(config.Drain.HandOver),
		},
		Concurrency: config.Drain.Concurrency,
		Reporter:    reporter,
		Health:      &agent.Health{Log: log}, Metrics: metrics, Log: log,
	}, registry, nil
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

// newNode returns the agent's node on the API server, or a rehearsing one. Its
// requests are counted, and so are its calls to pods.
func newNode(config Config, access *rest.Config, metrics *agent.Metrics) (agent.Node, error) {
	access = rest.CopyConfig(access)
	access.Wrap(metrics.CountRequests)
	client, err := drain.NewClient(access, config.NodeName)
	if err != nil {
		return nil, err
	}
	if config.DryRun {
		return metrics.CountCalls(drain.NewDryRun(client)), nil
	}
	return metrics.CountCalls(client), nil
}

// restConfig says how to reach the API server.
func restConfig(kubeconfig string) (*rest.Config, error) {
	// The connection is asked for signs of life after five quiet seconds, not
	// thirty: an API server that is gone must not cost a third of a notice.
	// client-go reads this from the environment and nowhere else.
	for name, seconds := range map[string]string{
		"HTTP2_READ_IDLE_TIMEOUT_SECONDS": "5", "HTTP2_PING_TIMEOUT_SECONDS": "3",
	} {
		if err := os.Setenv(name, seconds); err != nil {
			return nil, fmt.Errorf("setting %s: %w", name, err)
		}
	}
	if kubeconfig == "" {
		config, err := rest.InClusterConfig()
		if err != nil {
			return nil, fmt.Errorf("reading the pod's service account (outside a pod, set --kubeconfig): %w", err)
		}
		return config, nil
	}
	config, err := clientcmd.BuildConfigFromFlags("", kubeconfig)
	if err != nil {
		return nil, fmt.Errorf("reading kubeconfig %q: %w", kubeconfig, err)
	}
	return config, nil
}

// serve answers on listener until ctx ends.
func serve(ctx context.Context, listener net.Listener, handler http.Handler) error {
	server := &http.Server{Handler: handler, ReadHeaderTimeout: 5 * time.Second, IdleTimeout: time.Minute}
	stop := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer stop()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("serving metrics and health: %w", err)
	}
	return nil
}

func newLogger(to io.Writer, config Log) *slog.Logger {
	var level slog.Level
	// The configuration was validated: every name it lets through is a level.
	_ = level.UnmarshalText([]byte(config.Level))
	options := &slog.HandlerOptions{Level: level}
	if config.Format == "text" {
		return slog.New(slog.NewTextHandler(to, options))
	}
	return slog.New(slog.NewJSONHandler(to, options))
}

func buildInfo() prometheus.Collector {
	return prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "ebbtide_build_info", Help: "Always 1; the labels say what runs here.",
		ConstLabels: prometheus.Labels{"version": version, "goversion": runtime.Version()},
	}, func() float64 { return 1 })
}
