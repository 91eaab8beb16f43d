package certificate

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	admissionreviewv1 "k8s.io/api/admission/v1"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/tools/clientcmd"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// cluster is the lab with an empty Secret and a webhook configuration of two entries,
// each of which is one replica: a pod that is created asks both, and is refused when
// either cannot be asked.
type cluster struct {
	*testing.T
	client     kubernetes.Interface
	namespace  string
	kubeconfig string
	replicas   []*replicaServer
}

// replicaServer is a webhook with its keeper.
type replicaServer struct {
	keeper   *Keeper
	registry *prometheus.Registry
	url      string

	mu     sync.Mutex
	serial map[string]bool // of the certificates that were served
}

const secretName = "placement-certificate"

// quick rotates as fast as an API server can follow: a certificate's times are whole
// seconds.
var quick = Periods{
	Authority: time.Hour, RotateAuthority: time.Second, Serving: 30 * time.Minute, RotateServing: time.Second, Settle: time.Second,
}

func newCluster(t *testing.T, options Options, data map[string][]byte) *cluster {
	t.Helper()
	l := lab.Shared(t)
	c := &cluster{T: t, client: l.Client(), namespace: l.Namespace(t)}
	_, err := c.client.CoreV1().Secrets(c.namespace).Create(t.Context(),
		&corev1.Secret{ObjectMeta: metav1.ObjectMeta{Name: secretName}, Data: data}, metav1.CreateOptions{})
	c.must(err)
	// What the chart grants, and no more: no list, no other name.
	c.kubeconfig, err = l.ServiceAccount(t.Context(), c.namespace, "placement", []rbacv1.PolicyRule{
		{APIGroups: []string{""}, Resources: []string{"secrets"}, ResourceNames: []string{secretName}, Verbs: []string{"get", "watch", "update"}},
		{
			APIGroups: []string{admissionv1.GroupName}, Resources: []string{"mutatingwebhookconfigurations"},
			ResourceNames: []string{c.namespace}, Verbs: []string{"get", "watch", "patch"},
		},
	})
	c.must(err)
	for range 2 {
		c.replicas = append(c.replicas, c.start(options))
	}
	c.configure()
	for _, r := range c.replicas {
		placementtest.Await(c, "the replica to be ready", func(context.Context) error { return r.keeper.Ready() })
	}
	// A replica is ready by the configuration that is stored; the API server follows.
	placementtest.Await(c, "a pod to be created", c.create)
	return c
}

func (c *cluster) must(err error) {
	c.Helper()
	if err != nil {
		c.Fatal(err)
	}
}

// start starts a replica for the time of the test.
func (c *cluster) start(options Options) *replicaServer {
	c.Helper()
	config, err := clientcmd.BuildConfigFromFlags("", c.kubeconfig)
	c.must(err)
	r := &replicaServer{registry: prometheus.NewRegistry(), serial: map[string]bool{}}
	options.Namespace, options.Secret, options.Configuration = c.namespace, secretName, c.namespace
	options.Names = []string{"127.0.0.1"}
	options.Registry = r.registry
	options.Logger = slog.New(slog.NewTextHandler(c.Output(), nil))
	r.keeper, err = New(config, options)
	c.must(err)

	server := httptest.NewUnstartedServer(http.HandlerFunc(allow))
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelInfo)
	// A handshake for every call: a connection that is kept open proves nothing.
	server.Config.SetKeepAlivesEnabled(false)
	server.Listener = tls.NewListener(server.Listener, &tls.Config{MinVersion: tls.VersionTLS13, GetCertificate: r.certificate})
	server.Start()
	r.url = strings.Replace(server.URL, "http:", "https:", 1) + "/"

	ctx, cancel := context.WithCancel(c.Context())
	var running sync.WaitGroup
	running.Go(func() {
		if err := r.keeper.Run(ctx); err != nil {
			c.Error(err)
		}
	})
	c.Cleanup(func() {
		cancel()
		running.Wait()
		server.Close()
	})
	return r
}

func (r *replicaServer) certificate(hello *tls.ClientHelloInfo) (*tls.Certificate, error) {
	serving, err := r.keeper.GetCertificate(hello)
	if err == nil {
		r.mu.Lock()
		r.serial[serving.Leaf.SerialNumber.String()] = true
		r.mu.Unlock()
	}
	return serving, err
}

// served is how many certificates were served.
func (r *replicaServer) served() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.serial)
}

// allow is a webhook that lets everything through.
func allow(w http.ResponseWriter, request *http.Request) {
	var review admissionreviewv1.AdmissionReview
	body, err := io.ReadAll(request.Body)
	if err == nil {
		err = json.Unmarshal(body, &review)
	}
	if err != nil {
		http.Error(w, err.Error(), http.StatusBadRequest)
		return
	}
	review.Response = &admissionreviewv1.AdmissionResponse{UID: review.Request.UID, Allowed: true}
	review.Request = nil
	w.Header().Set("Content-Type", "application/json")
	if err := json.NewEncoder(w).Encode(review); err != nil {
		panic(http.ErrAbortHandler) // The API server has gone away.
	}
}

// configure creates the webhook configuration, as the webhook's own reconciler would:
// without a caBundle.
func (c *cluster) configure() {
	c.Helper()
	configuration := &admissionv1.MutatingWebhookConfiguration{ObjectMeta: metav1.ObjectMeta{Name: c.namespace}}
	for i, r := range c.replicas {
		configuration.Webhooks = append(configuration.Webhooks, admissionv1.MutatingWebhook{
			Name:         fmt.Sprintf("replica-%d.placement.ebbtide.dev", i),
			ClientConfig: admissionv1.WebhookClientConfig{URL: &r.url},
			Rules: []admissionv1.RuleWithOperations{{
				Operations: []admissionv1.OperationType{admissionv1.Create},
				Rule:       admissionv1.Rule{APIGroups: []string{""}, APIVersions: []string{"v1"}, Resources: []string{"pods"}},
			}},
			// What fails is not covered up.
			FailurePolicy:           new(admissionv1.Fail),
			SideEffects:             new(admissionv1.SideEffectClassNone),
			TimeoutSeconds:          new(int32(10)),
			AdmissionReviewVersions: []string{"v1"},
			NamespaceSelector:       &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: c.namespace}},
		})
	}
	configurations := c.client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	_, err := configurations.Create(c.Context(), configuration, metav1.CreateOptions{FieldManager: "ebbtide-placement"})
	c.must(err)
	c.Cleanup(func() {
		if err := configurations.Delete(context.WithoutCancel(c.Context()), c.namespace, metav1.DeleteOptions{}); err != nil {
			c.Error(err)
		}
	})
}

// create asks the API server for a pod, and so the webhooks, and stores nothing.
func (c *cluster) create(ctx context.Context) error {
	pod := &corev1.Pod{
		ObjectMeta: metav1.ObjectMeta{GenerateName: "pod-"},
		Spec:       corev1.PodSpec{Containers: []corev1.Container{{Name: "main", Image: "example.com/app:1"}}},
	}
	_, err := c.client.CoreV1().Pods(c.namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
	return err
}

// load creates pods with several clients until the time is over and meanwhile has
// returned. It fails the test at the first that is refused, and returns how many were
// asked for.
func (c *cluster) load(lasting time.Duration, meanwhile func()) int {
	c.Helper()
	// Not a context's deadline: it would cut a create short, and look like a refusal.
	over := time.After(lasting)
	busy := make(chan struct{})
	var clients sync.WaitGroup
	var mu sync.Mutex
	created := 0
	for range 4 {
		clients.Go(func() {
			for {
				err := c.create(c.Context())
				mu.Lock()
				created++
				mu.Unlock()
				if err != nil {
					c.Errorf("creating a pod: %v", err)
					return
				}
				select {
				case <-busy:
					return
				default:
				}
			}
		})
	}
	meanwhile()
	<-over
	close(busy)
	clients.Wait()
	return created
}

// data writes the Secret's data.
func (c *cluster) data(data map[string][]byte) {
	c.Helper()
	secrets := c.client.CoreV1().Secrets(c.namespace)
	placementtest.Await(c, "the Secret to be written", func(ctx context.Context) error {
		secret, err := secrets.Get(ctx, secretName, metav1.GetOptions{})
		if err != nil {
			return err
		}
		secret.Data = data
		_, err = secrets.Update(ctx, secret, metav1.UpdateOptions{})
		return err
	})
}
