package main

import (
	"context"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	corev1 "k8s.io/api/core/v1"

	"github.com/ebbtide/ebbtide/agent"
	"github.com/ebbtide/ebbtide/agent/provider"
)

// place is where the node's machine runs.
type place struct {
	// provider is one of provider.All.
	provider string
	// providerID is the Node's; empty where the Node was not asked. With it a source knows
	// a metadata service that is another machine's.
	providerID string
}

// providerCheck is the name in Health of finding the provider.
const providerCheck = "provider"

const (
	// lookAgain is the pause between two looks at the Node. A new one may be without its
	// providerID until its cloud's controller manager has seen it.
	lookAgain = 2 * time.Second
	// lookTimeout bounds a look.
	lookTimeout = 5 * time.Second
)

// settle gives the agent its sources. Where nobody has said which they are, it waits
// until the Node tells, and the agent is not ready meanwhile. The error is that of ctx,
// or says which source cannot be made.
func (p parts) settle(ctx context.Context, config Config) error {
	where, looked := place{provider: config.Provider}, config.Provider == auto
	if looked {
		var err error
		if where, err = locate(ctx, p.agent.Node, p.agent.Health, p.agent.Log); err != nil {
			return err
		}
	}
	sources, err := newSources(config, where, p.access)
	if err != nil {
		return err
	}
	p.agent.Sources = sources
	p.agent.Metrics.Expect(sources)
	p.provider.WithLabelValues(where.provider).Set(1)
	if looked {
		p.agent.Expect() // first, since what has passed this check has to pass the others
		p.agent.Health.Set(providerCheck, nil, time.Now())
	}
	return nil
}

// newProviderGauge tells which cloud's notices an agent looks out for: a fleet that was
// thought to be in one, and is found in none, shall show.
func newProviderGauge(registry prometheus.Registerer) *prometheus.GaugeVec {
	gauge := prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "ebbtide_provider", Help: "1 for the provider that the node runs in, as configured or found; all 0 until it is found.",
	}, []string{"provider"})
	registry.MustRegister(gauge)
	for _, name := range provider.All {
		gauge.WithLabelValues(name)
	}
	return gauge
}

// getter reads the agent's node.
type getter interface {
	Get(ctx context.Context) (*corev1.Node, error)
}

// locate looks at the node until that tells where it runs. The error is that of ctx.
func locate(ctx context.Context, node getter, health *agent.Health, log *slog.Logger) (place, error) {
	health.Expect(providerCheck, 0)
	for {
		where, err := look(ctx, node, log)
		switch {
		case err == nil:
			return where, nil
		case ctx.Err() == nil:
			health.Set(providerCheck, err, time.Now())
		}
		select {
		case <-ctx.Done():
			return place{}, ctx.Err()
		case <-time.After(lookAgain):
		}
	}
}

// look reads the node once.
func look(ctx context.Context, from getter, log *slog.Logger) (place, error) {
	ctx, cancel := context.WithTimeout(ctx, lookTimeout)
	defer cancel()
	node, err := from.Get(ctx)
	if err != nil {
		return place{}, err
	}
	id := node.Spec.ProviderID
	found, err := provider.Of(id)
	if err != nil {
		return place{}, err
	}
	if found.Provider == provider.None {
		log.Warn("Found no cloud that announces interruptions to its machines", "providerID", id, "reason", found.Why)
	} else {
		log.Info("Found provider", "provider", found.Provider, "providerID", id)
	}
	return place{provider: found.Provider, providerID: id}, nil
}
