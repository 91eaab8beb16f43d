package webhook

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	admissionv1 "k8s.io/api/admission/v1"
	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/kubernetes"
	"k8s.io/client-go/util/cert"

	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/placementtest"
)

// inTime is how long a pod may take to be created while a webhook does not work.
const inTime = 1500 * time.Millisecond

// faulty runs a server with a handler of its own over TLS for the time of the test.
func faulty(t testing.TB, handler http.HandlerFunc) endpoint {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Config.ErrorLog = slog.NewLogLogger(slog.DiscardHandler, slog.LevelDebug)
	server.StartTLS()
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	bundle, err := cert.EncodeCertificates(server.Certificate())
	if err != nil {
		t.Fatal(err)
	}
	return endpoint{url: server.URL + Path, caBundle: bundle}
}

// register makes a configuration of one entry, for the namespace and the time of the test.
func register(t testing.TB, client kubernetes.Interface, name, namespace string, at endpoint) {
	t.Helper()
	entry := placement.WebhookEntries(placement.Policies{}, placement.EntryOptions{
		Client: admissionregistrationv1.WebhookClientConfig{URL: &at.url, CABundle: at.caBundle},
	})[0]
	entry.Name = name + ".example.com"
	entry.NamespaceSelector = &metav1.LabelSelector{MatchLabels: map[string]string{corev1.LabelMetadataName: namespace}}
	configurations := client.AdmissionregistrationV1().MutatingWebhookConfigurations()
	_, err := configurations.Create(t.Context(), &admissionregistrationv1.MutatingWebhookConfiguration{
		ObjectMeta: metav1.ObjectMeta{Name: name}, Webhooks: []admissionregistrationv1.MutatingWebhook{entry},
	}, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict})
	if err != nil {
		t.Fatalf("creating webhook configuration %q: %v", name, err)
	}
	t.Cleanup(func() {
		if err := configurations.Delete(context.WithoutCancel(t.Context()), name, metav1.DeleteOptions{}); err != nil {
			t.Error(err)
		}
	})
}

// until tries a dry run of the pod until what it makes satisfies done.
func until(t testing.TB, client kubernetes.Interface, pod *corev1.Pod, done func(*corev1.Pod) bool) {
	t.Helper()
	placementtest.Await(t, "the webhook to be called", func(ctx context.Context) error {
		made, err := client.CoreV1().Pods(pod.Namespace).Create(ctx, pod, metav1.CreateOptions{DryRun: []string{metav1.DryRunAll}})
		if err == nil && !done(made) {
			return fmt.Errorf("the pod has the annotations %q", made.Annotations)
		}
		return err
	})
}

// placed says whether a decision is recorded on the pod.
func placed(pod *corev1.Pod) bool {
	_, found := placement.ReadRecord(pod)
	return found
}

func labPod(t testing.TB, namespace, text string) *corev1.Pod {
	t.Helper()
	pod := placementtest.Pod(t, text)
	pod.Namespace = namespace
	return pod
}

// labHandler answers for the policies of the tables in one namespace of the lab.
func labHandler(t testing.TB, namespace string) *Handler {
	t.Helper()
	cluster := caseCluster(t)
	cluster.namespaces[namespace] = placement.Namespace{Name: namespace}
	handler, _ := newHandler(t, cluster)
	return handler
}

func TestAPIServersTakeEveryAnswer(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	client, namespace := l.Client(), l.Namespace(t)
	register(t, client, "answers", namespace, serve(t, labHandler(t, namespace)))
	until(t, client, labPod(t, namespace, requiredPod), placed)
	for name, c := range map[string]struct {
		pod  string
		want placement.Reason
	}{
		"a pod without an affinity":    {requiredPod, placement.PolicyRequires},
		"a pod that is only preferred": {"metadata: {labels: {want: preferred}}", placement.PolicyPrefers},
		"a pod with an empty term":     {requiredPod + "spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{}, {matchExpressions: [{key: zone, operator: Exists}]}]}}}}", placement.PolicyRequires},
		"a pod of empty terms only":    {requiredPod + "spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: [{}]}}}}", placement.EmptyTerms},
		"a pod whose author chose":     {requiredPod + "spec: {nodeSelector: {karpenter.sh/capacity-type: spot}}", placement.Contradiction},
		"a pod with annotations":       {"metadata: {labels: {want: required}, annotations: {a: b}}", placement.PolicyRequires},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			for _, dryRun := range [][]string{{metav1.DryRunAll}, nil} {
				made, err := client.CoreV1().Pods(namespace).Create(t.Context(), labPod(t, namespace, c.pod), metav1.CreateOptions{DryRun: dryRun})
				if err != nil {
					t.Fatal(err)
				}
				if record, _ := placement.ReadRecord(made); record.Reason != c.want {
					t.Errorf("the pod says %q (dry run: %q), want %q", record.Reason, dryRun, c.want)
				}
			}
		})
	}
	t.Run("a pod without terms is refused as it is without a webhook", func(t *testing.T) {
		t.Parallel()
		pod := labPod(t, namespace, requiredPod+"spec: {affinity: {nodeAffinity: {requiredDuringSchedulingIgnoredDuringExecution: {nodeSelectorTerms: []}}}}")
		_, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
		if err == nil || !strings.Contains(err.Error(), "must have at least one node selector term") {
			t.Errorf("the API server says %v", err)
		}
	})
}

// A webhook that is called after ours, by its name, and replaces the affinity.
func TestWhatAnotherWebhookAddsIsPlacedToo(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	client, namespace := l.Client(), l.Namespace(t)
	const patch = `[{"op":"add","path":"/spec/affinity","value":{"nodeAffinity":{"requiredDuringSchedulingIgnoredDuringExecution":{"nodeSelectorTerms":[{"matchExpressions":[{"key":"zone","operator":"In","values":["a"]}]}]}}}}]`
	other := faulty(t, func(w http.ResponseWriter, r *http.Request) {
		asked, err := readReview(r.Body)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		response := allow(asked.UID)
		// Once only, as a well-behaved webhook does.
		if affinity := asked.Object.Spec.Affinity; affinity == nil || affinity.NodeAffinity == nil ||
			!strings.Contains(string(placementtest.JSON(t, affinity.NodeAffinity)), `"zone"`) {
			response.Patch, response.PatchType = []byte(patch), new(admissionv1.PatchTypeJSONPatch)
		}
		body, err := answer(response)
		if err != nil {
			http.Error(w, err.Error(), http.StatusInternalServerError)
			return
		}
		_, _ = w.Write(body)
	})
	register(t, client, "reinvocation-a", namespace, serve(t, labHandler(t, namespace)))
	register(t, client, "reinvocation-b", namespace, other)
	terms := func(pod *corev1.Pod) []corev1.NodeSelectorTerm {
		if pod.Spec.Affinity == nil || pod.Spec.Affinity.NodeAffinity == nil {
			return nil
		}
		return pod.Spec.Affinity.NodeAffinity.RequiredDuringSchedulingIgnoredDuringExecution.NodeSelectorTerms
	}
	pod := labPod(t, namespace, requiredPod)
	until(t, client, pod, func(made *corev1.Pod) bool {
		return placed(made) && len(terms(made)) == 1 && strings.Contains(string(placementtest.JSON(t, terms(made))), `"zone"`)
	})
	made, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if err != nil {
		t.Fatal(err)
	}
	want := 1 + len(placement.Rules{}.Requirements())
	if got := terms(made); len(got) != 1 || len(got[0].MatchExpressions) != want {
		t.Errorf("the pod requires %s, want the other webhook's term with ours in it", placementtest.JSON(t, got))
	}
}

// failedOpen says whether the API server counted a call of the webhook that failed and
// was ignored.
func failedOpen(ctx context.Context, client kubernetes.Interface, webhook string) (bool, error) {
	metrics, err := client.CoreV1().RESTClient().Get().AbsPath("/metrics").DoRaw(ctx)
	if err != nil {
		return false, err
	}
	for line := range strings.Lines(string(metrics)) {
		if strings.HasPrefix(line, "apiserver_admission_webhook_fail_open_count{") && strings.Contains(line, `name="`+webhook+`"`) {
			return true, nil
		}
	}
	return false, nil
}

// hang answers nothing for as long as anybody waits.
func hang(_ http.ResponseWriter, r *http.Request) {
	_, _ = io.Copy(io.Discard, r.Body)
	<-r.Context().Done()
}

func TestPodsAreCreatedWhateverTheWebhookDoes(t *testing.T) {
	t.Parallel()
	l := lab.Shared(t)
	for name, webhook := range map[string]func(t *testing.T) endpoint{
		"hanging": func(t *testing.T) endpoint { return faulty(t, hang) },
		"garbage": func(t *testing.T) endpoint {
			return faulty(t, func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("\x00garbage")) })
		},
		"failing": func(t *testing.T) endpoint {
			return faulty(t, func(w http.ResponseWriter, _ *http.Request) { http.Error(w, "no", http.StatusInternalServerError) })
		},
		"refusing": func(t *testing.T) endpoint {
			server := httptest.NewTLSServer(http.NotFoundHandler())
			bundle, err := cert.EncodeCertificates(server.Certificate())
			if err != nil {
				t.Fatal(err)
			}
			server.Close()
			return endpoint{url: server.URL + Path, caBundle: bundle}
		},
		"distrusted": func(t *testing.T) endpoint {
			trusted, served := faulty(t, hang), serve(t, labHandler(t, "none"))
			return endpoint{url: served.url, caBundle: trusted.caBundle}
		},
		"elsewhere": func(t *testing.T) endpoint {
			served := serve(t, labHandler(t, "none"))
			return endpoint{url: strings.TrimSuffix(served.url, Path) + "/nothing-is-served-here", caBundle: served.caBundle}
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			client, namespace := l.Client(), l.Namespace(t)
			register(t, client, name, namespace, webhook(t))
			createInTime(t, client, namespace, inTime, name+".example.com")
		})
	}
	t.Run("four that hang", func(t *testing.T) {
		t.Parallel()
		client, namespace := l.Client(), l.Namespace(t)
		hanging := faulty(t, hang)
		names := []string{"hanging-1", "hanging-2", "hanging-3", "hanging-4"}
		webhooks := make([]string, 0, len(names))
		for _, name := range names {
			register(t, client, name, namespace, hanging)
			webhooks = append(webhooks, name+".example.com")
		}
		// They are called one after the other, a second each.
		createInTime(t, client, namespace, 4*time.Second+500*time.Millisecond, webhooks...)
	})
}

// createInTime waits until the API server calls the webhooks, and then wants a pod to
// be created, unplaced, within the limit.
func createInTime(t *testing.T, client kubernetes.Interface, namespace string, limit time.Duration, webhooks ...string) {
	t.Helper()
	pod := labPod(t, namespace, requiredPod)
	for _, webhook := range webhooks {
		until(t, client, pod, func(*corev1.Pod) bool {
			failed, err := failedOpen(t.Context(), client, webhook)
			if err != nil {
				t.Fatal(err)
			}
			return failed
		})
	}
	began := time.Now()
	made, err := client.CoreV1().Pods(namespace).Create(t.Context(), pod, metav1.CreateOptions{})
	if took := time.Since(began); took > limit {
		t.Errorf("the pod was created in %s, want %s at most", took, limit)
	}
	if err != nil {
		t.Fatal(err)
	}
	if placed(made) {
		t.Errorf("the pod was placed: %s", made.Annotations[placement.DecisionAnnotation])
	}
}
