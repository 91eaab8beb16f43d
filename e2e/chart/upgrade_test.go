package chart

import (
	"context"
	"encoding/json"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applyadmission "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"k8s.io/client-go/util/cert"

	"github.com/ebbtide/ebbtide/api/v1alpha1"
	"github.com/ebbtide/ebbtide/e2e/lab"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/certificate"
	"github.com/ebbtide/ebbtide/placement/webhook"
)

// The CA lies in an object of the chart's, and what the API servers call by in another.
// Helm applies in two ways: by the API server, as of version 4, and by a patch that it
// makes itself, as before.
//
//nolint:tparallel // A cluster has room for one release.
func TestAnUpgradeAndARollbackKeepTheCAAndTheEntries(t *testing.T) {
	t.Parallel()
	l := lab.New(t)
	for name, serverSide := range map[string]string{"applied by the API server": "true", "patched by Helm": "false"} {
		t.Run(name, func(t *testing.T) {
			r := release{l}
			r.helm(t, "install", "--create-namespace", "--server-side="+serverSide)
			before := r.fill(t)

			r.helm(t, "upgrade", "--server-side="+serverSide, "--set", "commonLabels.changed=yes,agent.hostNetwork=false")
			after := r.look(t)
			if after.secret.Labels["changed"] != "yes" || after.entries.Labels["changed"] != "yes" {
				t.Fatal("the upgrade has changed nothing, and proves nothing")
			}
			r.same(t, "an upgrade", before, after)

			r.helm(t, "rollback", "--server-side="+serverSide)
			back := r.look(t)
			if back.secret.Labels["changed"] != "" {
				t.Fatal("the rollback has changed nothing, and proves nothing")
			}
			r.same(t, "a rollback", before, back)

			r.helm(t, "uninstall")
			r.gone(t)
		})
	}
}

// release is the chart in a lab without nodes: there is everything but running pods.
type release struct{ lab *lab.Lab }

func (r release) helm(t *testing.T, command string, args ...string) {
	t.Helper()
	all := []string{command, DefaultRelease}
	if command == "install" || command == "upgrade" {
		folder, err := Folder(t.Context())
		must(t, err)
		all = append(all, folder)
	}
	all = append(all, "--namespace", DefaultRelease, "--kubeconfig", r.lab.Kubeconfig())
	_, err := Helm(t.Context(), nil, append(all, args...)...)
	must(t, err)
}

// kept is what an upgrade must not change.
type kept struct {
	secret  *corev1.Secret
	entries *admissionv1.MutatingWebhookConfiguration
}

const secretName = "ebbtide-placement-certificate" //nolint:gosec // G101: it is the name of one.

func (r release) look(t *testing.T) kept {
	t.Helper()
	secret, err := r.lab.Client().CoreV1().Secrets(DefaultRelease).Get(t.Context(), secretName, metav1.GetOptions{})
	must(t, err)
	entries, err := r.lab.Client().AdmissionregistrationV1().MutatingWebhookConfigurations().Get(t.Context(), "ebbtide-placement", metav1.GetOptions{})
	must(t, err)
	return kept{secret, entries}
}

// fill writes what the program writes, as the program writes it.
func (r release) fill(t *testing.T) kept {
	t.Helper()
	now := r.look(t)
	if len(now.secret.Data) > 0 || len(now.entries.Webhooks) > 0 {
		t.Fatalf("the chart fills what is the program's: %v %v", now.secret.Data, now.entries.Webhooks)
	}
	now.secret.Data = map[string][]byte{corev1.ServiceAccountRootCAKey: []byte("a CA"), corev1.TLSCertKey: []byte("a certificate")}
	_, err := r.lab.Client().CoreV1().Secrets(DefaultRelease).Update(t.Context(), now.secret, metav1.UpdateOptions{FieldManager: certificate.FieldManager})
	must(t, err)
	r.applyEntries(t)
	filled := r.look(t)
	if len(filled.entries.Webhooks) != 2 || len(filled.entries.Webhooks[0].ClientConfig.CABundle) == 0 {
		t.Fatalf("the entries are not what the program writes: %+v", filled.entries.Webhooks)
	}
	return filled
}

func (r release) applyEntries(t *testing.T) {
	t.Helper()
	encoded, err := json.Marshal(placement.WebhookEntries(placement.Policies{}, placement.EntryOptions{
		OwnNamespace: DefaultRelease,
		Client: admissionv1.WebhookClientConfig{Service: &admissionv1.ServiceReference{
			Namespace: DefaultRelease, Name: "ebbtide-placement", Path: new(webhook.Path), Port: new(int32(443)),
		}},
	}))
	must(t, err)
	configurations := r.lab.Client().AdmissionregistrationV1().MutatingWebhookConfigurations()
	entries := applyadmission.MutatingWebhookConfiguration("ebbtide-placement")
	must(t, json.Unmarshal(encoded, &entries.Webhooks))
	_, err = configurations.Apply(t.Context(), entries, metav1.ApplyOptions{FieldManager: webhook.FieldManager, Force: true})
	must(t, err)
	// An API server takes no caBundle that is none.
	authority, _, err := cert.GenerateSelfSignedCertKey("placement.test", nil, nil)
	must(t, err)
	bundles := applyadmission.MutatingWebhookConfiguration("ebbtide-placement")
	for _, entry := range entries.Webhooks {
		bundles.WithWebhooks(applyadmission.MutatingWebhook().WithName(*entry.Name).
			WithClientConfig(applyadmission.WebhookClientConfig().WithCABundle(authority...)))
	}
	_, err = configurations.Apply(t.Context(), bundles, metav1.ApplyOptions{FieldManager: certificate.FieldManager, Force: true})
	must(t, err)
}

func (r release) same(t *testing.T, what string, before, after kept) {
	t.Helper()
	if diff := cmp.Diff(before.secret.Data, after.secret.Data); diff != "" {
		t.Errorf("%s changes the Secret (-before +after):\n%s", what, diff)
	}
	if diff := cmp.Diff(before.entries.Webhooks, after.entries.Webhooks); diff != "" {
		t.Errorf("%s changes the entries (-before +after):\n%s", what, diff)
	}
}

// gone fails unless nothing is left but what Helm leaves on purpose.
func (r release) gone(t *testing.T) {
	t.Helper()
	ctx := t.Context()
	client := r.lab.Client()
	mine := metav1.ListOptions{LabelSelector: "app.kubernetes.io/instance=" + DefaultRelease}
	left := map[string]func(context.Context, metav1.ListOptions) (int, error){
		"ClusterRole": func(ctx context.Context, o metav1.ListOptions) (int, error) {
			list, err := client.RbacV1().ClusterRoles().List(ctx, o)
			return len(list.Items), err
		},
		"MutatingWebhookConfiguration": func(ctx context.Context, o metav1.ListOptions) (int, error) {
			list, err := client.AdmissionregistrationV1().MutatingWebhookConfigurations().List(ctx, o)
			return len(list.Items), err
		},
		"PriorityLevelConfiguration": func(ctx context.Context, o metav1.ListOptions) (int, error) {
			list, err := client.FlowcontrolV1().PriorityLevelConfigurations().List(ctx, o)
			return len(list.Items), err
		},
		"Secret": func(ctx context.Context, o metav1.ListOptions) (int, error) {
			list, err := client.CoreV1().Secrets(DefaultRelease).List(ctx, o)
			return len(list.Items), err
		},
	}
	for kind, count := range left {
		n, err := count(ctx, mine)
		must(t, err)
		if n > 0 {
			t.Errorf("%d objects of the kind %s are left", n, kind)
		}
	}
	_, err := client.Discovery().ServerResourcesForGroupVersion(v1alpha1.GroupVersion.String())
	if apierrors.IsNotFound(err) {
		t.Error("Helm has removed the CRD, and with it everybody's policies")
	}
	must(t, err)
}
