package certificate

import (
	"cmp"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	admissionclient "k8s.io/client-go/kubernetes/typed/admissionregistration/v1"
	coreclient "k8s.io/client-go/kubernetes/typed/core/v1"
	"k8s.io/client-go/rest"
)

// Options say what a [Keeper] keeps.
type Options struct {
	// Mode is where the certificate comes from; empty means [Own].
	Mode Mode
	// Namespace and Secret name the Secret. It has to exist: in the mode Own it may be
	// empty, and the chart creates it so. Permissions: get and watch, and update in
	// the mode Own.
	Namespace, Secret string
	// Configuration names the MutatingWebhookConfiguration whose caBundles are kept.
	// Permissions: get and watch, and patch unless the mode is [CertManager].
	Configuration string
	// Names are the DNS names or addresses by which the API server calls the webhook,
	// as in "placement.ebbtide.svc".
	Names []string
	// Periods are the times of a rotation in the mode Own; Settle is for every mode. The
	// zero value means [DefaultPeriods].
	Periods Periods
	// Logger may be nil: nothing is logged.
	Logger *slog.Logger
	// Registry gets the metrics; nil means nobody.
	Registry prometheus.Registerer
}

// Keeper serves the webhook's certificate from memory, and keeps it and the caBundle
// in step. Its methods may be called from several goroutines; Run once.
type Keeper struct {
	rules          rules
	secretName     string
	configName     string
	secrets        coreclient.SecretInterface
	configurations admissionclient.MutatingWebhookConfigurationInterface
	logger         *slog.Logger
	metrics        *metrics

	news          chan struct{}
	secret        follower[*corev1.Secret]
	configuration follower[*admissionv1.MutatingWebhookConfiguration]

	serving atomic.Pointer[tls.Certificate]
	seen    sights // Run's own

	mu      sync.Mutex
	problem error // why the Secret is of no use; nil when it is
}

// New returns a keeper that asks nothing of the API server before Run. It fails when
// the options make no sense.
func New(config *rest.Config, options Options) (*Keeper, error) {
	options.Mode = cmp.Or(options.Mode, Own)
	options.Periods = cmp.Or(options.Periods, DefaultPeriods())
	if err := options.validate(); err != nil {
		return nil, fmt.Errorf("keeping certificates: %w", err)
	}
	core, err := coreclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for Secrets: %w", err)
	}
	admission, err := admissionclient.NewForConfig(config)
	if err != nil {
		return nil, fmt.Errorf("making a client for webhook configurations: %w", err)
	}
	k := &Keeper{
		rules:          rules{mode: options.Mode, names: options.Names, periods: options.Periods},
		secretName:     options.Secret,
		configName:     options.Configuration,
		secrets:        core.Secrets(options.Namespace),
		configurations: admission.MutatingWebhookConfigurations(),
		logger:         options.Logger,
		news:           make(chan struct{}, 1),
		problem:        errors.New("the Secret has not been read yet"),
	}
	k.secret.news, k.configuration.news = k.news, k.news
	if k.logger == nil {
		k.logger = slog.New(slog.DiscardHandler)
	}
	registry := options.Registry
	if registry == nil {
		registry = prometheus.NewRegistry()
	}
	k.metrics = newMetrics(registry, k.Ready)
	return k, nil
}

func (o Options) validate() error {
	var problems []error
	switch o.Mode {
	case Own:
		problems = append(problems, o.Periods.Validate())
	case Given, CertManager:
		if o.Periods.Settle <= 0 {
			problems = append(problems, errors.New("the time to settle has to be positive"))
		}
	default:
		problems = append(problems, fmt.Errorf("unknown mode %q", o.Mode))
	}
	if o.Namespace == "" || o.Secret == "" || o.Configuration == "" {
		problems = append(problems, errors.New("the Secret and the webhook configuration need names"))
	}
	if len(o.Names) == 0 {
		problems = append(problems, errors.New("the webhook needs a name to be called by"))
	}
	return errors.Join(problems...)
}

// GetCertificate is for [tls.Config]. It fails until there is something to serve. What
// the client asks for makes no difference: there is one certificate, for all names.
func (k *Keeper) GetCertificate(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	serving := k.serving.Load()
	if serving == nil {
		return nil, k.nothing()
	}
	return serving, nil
}

// Ready says why the API server would refuse what is served; nil means that it would
// not: the chain verifies, for every name, by the live caBundle of every entry.
func (k *Keeper) Ready() error {
	configuration, known := k.configuration.get()
	if !known {
		return fmt.Errorf("reading webhook configuration %q: not yet", k.configName)
	}
	if configuration == nil {
		return fmt.Errorf("reading webhook configuration %q: it does not exist", k.configName)
	}
	serving := k.serving.Load()
	if serving == nil {
		return k.nothing()
	}
	return verifyLive(serving, readEntries(configuration), k.rules.names, time.Now())
}

func (k *Keeper) nothing() error {
	k.mu.Lock()
	defer k.mu.Unlock()
	return fmt.Errorf("serving the certificate of Secret %q: %w", k.secretName, cmp.Or(k.problem, errNothing))
}

var errNothing = errors.New("there is none")

const (
	// pause is between two steps that write, so that replicas that cannot agree (two
	// versions with other names, in the middle of an upgrade) do not keep the API
	// server busy.
	pause = 100 * time.Millisecond
	// retryFirst and retryMost bound the wait after a request that failed.
	retryFirst, retryMost = time.Second, 30 * time.Second
	// answerWithin bounds the requests of one step.
	answerWithin = 10 * time.Second
	// lookEvery bounds the wait for what is due, in case the clock is set.
	lookEvery = time.Hour
)

// Run keeps the certificate and the caBundle in step until ctx ends, and returns nil.
// What goes wrong meanwhile is logged, counted and tried again.
func (k *Keeper) Run(ctx context.Context) error {
	var watches sync.WaitGroup
	defer watches.Wait()
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	watches.Go(func() { k.secret.run(ctx, k.secrets, k.secretName) })
	watches.Go(func() { k.configuration.run(ctx, k.configurations, k.configName) })

	timer := time.NewTimer(lookEvery)
	defer timer.Stop()
	retry := retryFirst
	for {
		again, wrote, err := k.step(ctx)
		wait := lookEvery
		if !again.IsZero() {
			wait = min(wait, time.Until(again))
		}
		switch {
		case err != nil && ctx.Err() == nil:
			k.logger.WarnContext(ctx, "Certificate step did not succeed", "err", err, "retryAfter", retry)
			wait = min(wait, retry)
			retry = min(2*retry, retryMost)
		default:
			retry = retryFirst
		}
		if wrote || err != nil {
			timer.Reset(pause)
			select {
			case <-timer.C:
			case <-ctx.Done():
				return nil
			}
		}
		timer.Reset(max(wait, 0))
		select {
		case <-k.news:
		case <-timer.C:
		case <-ctx.Done():
			return nil
		}
	}
}

// step looks, decides and acts once. It returns when to look again, and whether it
// asked the API server to write anything.
func (k *Keeper) step(ctx context.Context) (again time.Time, wrote bool, err error) {
	secret, secretKnown := k.secret.get()
	configuration, configurationKnown := k.configuration.get()
	if !secretKnown || !configurationKnown {
		return time.Time{}, false, nil
	}
	v := view{serving: k.serving.Load(), seen: k.seen, now: time.Now()}
	if secret != nil {
		v.data = secret.Data
	}
	if configuration != nil {
		v.live = readEntries(configuration)
	}
	s := k.rules.next(v)
	k.seen = s.seen
	k.serve(ctx, v.serving, s.serve)
	k.judge(ctx, secret, s.held)

	ctx, cancel := context.WithTimeout(ctx, answerWithin)
	defer cancel()
	var secretErr, configurationErr error
	if s.change != "" && secret != nil {
		wrote, secretErr = true, k.change(ctx, secret, s, v.now)
	}
	if len(s.publish.bundle) > 0 {
		wrote, configurationErr = true, k.publish(ctx, secret, configuration, s.publish)
	}
	return s.again, wrote, errors.Join(secretErr, configurationErr)
}

// serve takes the certificate into use.
func (k *Keeper) serve(ctx context.Context, before, serving *tls.Certificate) {
	if serving == nil || before != nil && before.Leaf.Equal(serving.Leaf) {
		return
	}
	k.serving.Store(serving)
	k.metrics.notAfter.Set(float64(serving.Leaf.NotAfter.Unix()))
	k.logger.InfoContext(ctx, "Certificate was taken into use",
		"serial", serving.Leaf.SerialNumber.Text(16), "issuer", serving.Leaf.Issuer.CommonName, "notAfter", serving.Leaf.NotAfter)
}

// judge says when the Secret stops or starts being of use.
func (k *Keeper) judge(ctx context.Context, secret *corev1.Secret, held contents) {
	problem := held.servingErr
	if secret == nil {
		problem = errors.New("it does not exist")
	}
	k.mu.Lock()
	before := k.problem
	k.problem = problem
	k.mu.Unlock()
	switch {
	case problem == nil && before != nil:
		k.metrics.usable.Set(1)
		k.logger.InfoContext(ctx, "Secret holds a usable certificate", "secret", k.secretName)
	case problem != nil && (before == nil || before.Error() != problem.Error()):
		k.metrics.usable.Set(0)
		k.logger.WarnContext(ctx, "Secret holds no usable certificate", "secret", k.secretName, "err", problem)
	}
}
