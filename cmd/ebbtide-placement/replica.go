package main

import (
	"context"
	"fmt"
	"log/slog"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/kubernetes/scheme"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"
	"k8s.io/client-go/tools/leaderelection/resourcelock"
	"sigs.k8s.io/controller-runtime/pkg/cache"

	"github.com/ebbtide/ebbtide/cmd/internal/process"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/admission"
	"github.com/ebbtide/ebbtide/placement/audit"
	"github.com/ebbtide/ebbtide/placement/certificate"
	"github.com/ebbtide/ebbtide/placement/crd"
	"github.com/ebbtide/ebbtide/placement/interruptions"
	"github.com/ebbtide/ebbtide/placement/sweep"
	"github.com/ebbtide/ebbtide/placement/webhook"
)

// builder puts a replica together. One cache serves the webhook and the auditor, so
// that nothing is watched twice and both know the same.
type builder struct {
	config    Config
	rules     placement.Rules
	access    *rest.Config
	clientset *kubernetes.Clientset
	informers cache.Cache
	memory    *webhook.Memory
	*replica
}

// build returns the replica that config describes. It asks nothing of anybody yet.
func build(config Config, log *slog.Logger) (*replica, error) {
	rules, err := config.Rules()
	if err != nil {
		return nil, err
	}
	access, err := process.Access(config.Kubeconfig)
	if err != nil {
		return nil, err
	}
	// The API server's own priority and fairness says how much is too much; a limit here
	// would delay the renewal of a lease behind a burst of deletions.
	access.QPS = -1
	clientset, err := kubernetes.NewForConfig(access)
	if err != nil {
		return nil, fmt.Errorf("making a client: %w", err)
	}
	informers, err := webhook.NewCache(access, config.Webhook.Configuration)
	if err != nil {
		return nil, err
	}
	b := &builder{
		config: config, rules: rules, access: access, clientset: clientset, informers: informers,
		memory: webhook.NewMemory(rules, log),
		replica: &replica{
			log: log, registry: process.NewRegistry(), listen: config.Listen, checks: webhook.Checks{},
			known: informers.WaitForCacheSync,
		},
	}
	for _, add := range []func() error{b.addMemory, b.addAuditor, b.addSweeper, b.addUpgrader, b.addCounter, b.addPlacing} {
		if err := add(); err != nil {
			return nil, err
		}
	}
	b.registry.MustRegister(b.checks.Collector()) // of all that were added
	return b.replica, nil
}

// addMemory adds what knows the cluster.
func (b *builder) addMemory() error {
	if err := b.memory.Watch(context.Background(), b.informers); err != nil {
		return err
	}
	b.standing = append(b.standing, b.informers.Start, b.memory.Run)
	b.checks["cluster"] = b.memory.Ready
	return nil
}

// addAuditor adds what looks at the pods that are there already.
func (b *builder) addAuditor() error {
	untyped, err := dynamic.NewForConfig(b.access)
	if err != nil {
		return fmt.Errorf("making a client for policies: %w", err)
	}
	cluster := audit.Cached(b.informers)
	mover := &audit.Mover{Config: b.access, Client: b.clientset, Cluster: cluster, Rules: b.rules}
	broadcaster := events.NewBroadcaster(&events.EventSinkImpl{Interface: b.clientset.EventsV1()})
	b.auditor = &audit.Runner{
		Cluster: cluster, Rules: b.rules, Move: mover.Move, Client: b.clientset, Dynamic: untyped,
		Lock: &resourcelock.LeaseLock{
			LeaseMeta:  metav1.ObjectMeta{Namespace: b.config.Namespace, Name: b.config.Audit.Lease},
			Client:     b.clientset.CoordinationV1(),
			LockConfig: resourcelock.ResourceLockConfig{Identity: b.config.Instance},
		},
		Events:  broadcaster.NewRecorder(scheme.Scheme, webhook.Reporter),
		Metrics: audit.NewMetrics(b.registry), Log: b.log, OwnNamespace: b.config.Namespace,
		WhileLeading: map[string]func(context.Context) error{},
	}
	b.memory.LatelyPending, b.auditor.OnPending = b.auditor.LatelyPending, b.memory.Refresh
	b.checks["audit"] = b.auditor.Ready
	b.standing = append(b.standing, func(ctx context.Context) error {
		defer broadcaster.Shutdown()
		if err := broadcaster.StartRecordingToSinkWithContext(ctx); err != nil {
			return fmt.Errorf("starting to record Events: %w", err)
		}
		<-ctx.Done()
		return nil
	})
	return nil
}

// addSweeper adds what looks after the nodes whose agent does not come back.
func (b *builder) addSweeper() error {
	metrics := sweep.NewMetrics(b.registry) // at zero where nothing is swept
	if b.config.Audit.SweepAfter == 0 {
		return nil
	}
	sweeper := &sweep.Sweeper{
		Undoer: sweep.Undoer{Config: b.access, Client: b.clientset},
		Look: func(ctx context.Context) (sweep.View, error) {
			view, err := b.auditor.Cluster.View(ctx)
			return sweep.View{Nodes: view.Nodes, Pods: view.Pods}, err
		},
		After: b.config.Audit.SweepAfter, Events: b.auditor.Events, Metrics: metrics, Log: b.log,
	}
	b.lead("sweep", sweeper.Run)
	return nil
}

// addCounter adds what counts interruptions where the count outlives their nodes.
func (b *builder) addCounter() error {
	counter := &interruptions.Counter{
		Client: b.clientset, Nodes: b.informers,
		Leader: func(ctx context.Context) (int, error) {
			// Not by the auditor's lock, which only its elector may use.
			lease, err := b.clientset.CoordinationV1().Leases(b.config.Namespace).Get(ctx, b.config.Audit.Lease, metav1.GetOptions{})
			if err != nil {
				return 0, fmt.Errorf("reading lease %q: %w", b.config.Audit.Lease, err)
			}
			return resourcelock.LeaseSpecToLeaderElectionRecord(&lease.Spec).LeaderTransitions, nil
		},
		Metrics: interruptions.NewMetrics(b.registry), Log: b.log,
	}
	b.lead("interruptions", counter.Run)
	return nil
}

// addUpgrader adds what brings the CRD up to date. Nobody's readiness hangs on it.
func (b *builder) addUpgrader() error {
	upgrader, err := crd.New(b.auditor.Dynamic, b.registry, b.log)
	if err != nil {
		return err
	}
	if b.config.CRDs.Upgrade {
		b.lead("CRD", upgrader.Run)
	}
	return nil
}

// addPlacing adds what places the pods that are to come. Where that is the webhook, an
// admission policy of the other mode is withdrawn.
func (b *builder) addPlacing() error {
	keeper, err := admission.New(b.access, admission.Options{
		Name: b.config.AdmissionPolicy.Name, Namespace: b.config.Namespace, Image: b.config.AdmissionPolicy.Image, Rules: b.rulesNow,
		Events: b.auditor.Events, Registry: b.registry, Log: b.log,
	})
	if err != nil {
		return err
	}
	const name = "admission policy"
	if b.config.Mode == AdmissionPolicy {
		b.memory.OnPolicies = keeper.Want
		b.lead(name, keeper.Run)
		b.auditor.Rendered = true
		b.checks[name] = keeper.Ready
		return nil
	}
	b.lead(name, keeper.Withdraw)
	return b.addWebhook()
}

// lead adds work that one replica should do at a time, under a name of its own for the
// log; see [audit.Runner.WhileLeading]. It is for what is added after the auditor.
func (b *builder) lead(name string, work part) { b.auditor.WhileLeading[name] = work }

// rulesNow are the rules with the soft taints of the long-lived nodes that are known.
func (b *builder) rulesNow() placement.Rules {
	if state := b.memory.State(); state != nil {
		return state.Rules
	}
	return b.rules
}

// addWebhook adds the server of the webhook, its certificate and its registration.
func (b *builder) addWebhook() error {
	keeper, err := certificate.New(b.access, certificate.Options{
		Mode: certificate.Mode(b.config.Certificate.Mode), Namespace: b.config.Namespace, Secret: b.config.Certificate.Secret,
		Configuration: b.config.Webhook.Configuration, Names: b.config.Names(), Periods: b.config.Periods(),
		Logger: b.log, Registry: b.registry,
	})
	if err != nil {
		return err
	}
	writer, err := webhook.NewClient(b.access)
	if err != nil {
		return err
	}
	registration := webhook.NewRegistration(writer, b.config.Webhook.Configuration, placement.EntryOptions{
		OwnNamespace: b.config.Namespace, Client: b.config.Client(),
	}, b.registry, b.log)
	if err := registration.Watch(context.Background(), b.informers); err != nil {
		return err
	}
	b.memory.OnPolicies = registration.Want
	decisions := webhook.NewEvents(writer, b.config.Instance, b.registry, b.log)
	b.standing = append(b.standing, registration.Run, decisions.Run, keeper.Run)
	b.checks["certificate"] = keeper.Ready
	b.reviews = b.config.Webhook.Listen
	b.server = &webhook.Server{
		Handler:        &webhook.Handler{Cluster: b.memory, Metrics: webhook.NewMetrics(b.registry), Listener: decisions, Log: b.log},
		GetCertificate: keeper.GetCertificate, Linger: b.config.Webhook.Linger, Log: b.log,
	}
	return nil
}
