package admission

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/util/validation"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/events"

	"github.com/ebbtide/ebbtide/placement"
)

// A trial of two hundred policies is some five hundred requests, one after another: at
// the five a second that a client is held to by default it would take minutes.
const (
	requestsPerSecond = 100
	requestBurst      = 200
)

// sampleImage is the image of sample pods; none of them is ever stored, let alone run.
const sampleImage = "registry.k8s.io/pause:3.10"

// Options say what a [Keeper] keeps.
//
// Permissions: in admissionregistration.k8s.io, on mutatingadmissionpolicies and
// mutatingadmissionpolicybindings called Name or Name-trial, get, list, watch, patch,
// update and delete, and create, which RBAC cannot narrow to names; on pods of Namespace,
// create; on namespaces, get; on placementpolicies, list, and on their status, patch.
type Options struct {
	// Name is the name of the MutatingAdmissionPolicy and of its binding.
	Name string
	// Namespace is the program's own. Sample pods are created there, as dry runs; its
	// own pods are not placed unless it is kube-system.
	Namespace string
	// Image is the image of the sample pods, for clusters that refuse pods by their image;
	// the program's own is never refused. Nothing is pulled. Empty means a public one.
	Image string
	// Rules returns how spot nodes are told from long-lived ones. It is asked whenever the
	// keeper looks, twice a minute at least, since the PreferNoSchedule taints that a
	// preference has to tolerate change with the nodes. It must not block. Nil means the
	// built-in rules.
	Rules func() placement.Rules
	// Events is where people hear of a trial that was not passed; nil means nobody does.
	Events events.EventRecorder
	// Registry gets the metrics; nil means nobody.
	Registry prometheus.Registerer
	// Log may be nil: nothing is logged.
	Log *slog.Logger
}

// Keeper keeps the MutatingAdmissionPolicy and its binding as the policies ask. Its
// methods may be called from several goroutines; Run by one at a time, on the leader.
type Keeper struct {
	options Options
	client  kubernetes.Interface
	dynamic dynamic.Interface
	metrics *metrics
	// render is [placement.Render]. Tests break it.
	render func(placement.Policies, placement.Rules, placement.RenderOptions) placement.Rendering
	// bell is rung when there may be something to do.
	bell chan struct{}

	mu      sync.Mutex
	wanted  *placement.Policies // nil until somebody has told
	leading bool
	problem error // why what is wanted is not in force; nil when it is
}

// New returns a keeper that asks nothing of the API server before Run or Withdraw. It
// fails when the options make no sense.
func New(config *rest.Config, options Options) (*Keeper, error) {
	if problems := validation.IsDNS1123Subdomain(options.Name + trialSuffix); len(problems) > 0 || options.Name == "" {
		return nil, fmt.Errorf("keeping an admission policy called %q: no object can be called so", options.Name)
	}
	if options.Namespace == "" {
		return nil, fmt.Errorf("keeping admission policy %q: the namespace for its sample pods has no name", options.Name)
	}
	options = options.withDefaults()
	config = rest.CopyConfig(config)
	config.QPS, config.Burst = requestsPerSecond, requestBurst
	client, err := kubernetes.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for admission policies: %w", err)
	}
	untyped, err := dynamic.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for the status of policies: %w", err)
	}
	return &Keeper{
		options: options, client: client, dynamic: untyped, metrics: newMetrics(options.Registry),
		render: placement.Render, bell: make(chan struct{}, 1),
	}, nil
}

func (o Options) withDefaults() Options {
	if o.Image == "" {
		o.Image = sampleImage
	}
	if o.Rules == nil {
		o.Rules = func() placement.Rules { return placement.Rules{} }
	}
	if o.Registry == nil {
		o.Registry = prometheus.NewRegistry()
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	o.Log = o.Log.With("name", o.Name)
	return o
}

// Want says which policies are to be in force. It does not block.
func (k *Keeper) Want(policies placement.Policies) {
	k.mu.Lock()
	k.wanted = &policies
	k.mu.Unlock()
	k.ring()
}

func (k *Keeper) ring() {
	select {
	case k.bell <- struct{}{}:
	default: // it was rung, and nobody has come yet
	}
}

// Ready says why what is wanted is not in force; nil means that it is. A policy that
// cannot be rendered is not wanted.
//
// A replica that does not lead is ready: in a rolling update the new replicas have to be,
// before the old one lets go of the lead and they can put their own rendering in force.
func (k *Keeper) Ready() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	if !k.leading {
		return nil
	}
	return k.problem
}

var errUnknown = errors.New("the policies are not known yet")

// lead takes note of the beginning or the end of a term.
func (k *Keeper) lead(leading bool) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.leading, k.problem = leading, errUnknown
	k.metrics.inForce.Set(0)
}

// conclude takes note of what has come of a look. It returns what had before.
func (k *Keeper) conclude(problem error) (before error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	before, k.problem = k.problem, problem
	if problem == nil {
		k.metrics.inForce.Set(1)
	} else {
		k.metrics.inForce.Set(0)
	}
	return before
}

// Run keeps what is wanted in force until ctx ends. It returns when its trial, if it was
// holding one, is removed: within seconds.
func (k *Keeper) Run(ctx context.Context) error {
	k.lead(true)
	defer k.lead(false)
	t := &term{Keeper: k, pace: newPace()}
	defer t.watches.Wait()
	for {
		pause, deaf := t.look(ctx)
		bell := k.bell
		if deaf {
			bell = nil
		}
		timer := time.NewTimer(pause)
		select {
		case <-ctx.Done():
			timer.Stop()
			return nil
		case <-bell:
		case <-timer.C:
		}
		timer.Stop()
	}
}

// inForceOptions are those of the rendering that is put in force.
func (k *Keeper) inForceOptions() placement.RenderOptions {
	return placement.RenderOptions{
		Name: k.options.Name, OwnNamespace: k.options.Namespace,
		Labels: map[string]string{managedByLabel: managedBy},
		Pods: &metav1.LabelSelector{MatchExpressions: []metav1.LabelSelectorRequirement{
			{Key: TrialLabel, Operator: metav1.LabelSelectorOpDoesNotExist},
		}},
	}
}
