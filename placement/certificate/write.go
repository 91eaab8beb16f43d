package certificate

import (
	"cmp"
	"context"
	"fmt"
	"time"

	admissionv1 "k8s.io/api/admissionregistration/v1"
	corev1 "k8s.io/api/core/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	applyadmission "k8s.io/client-go/applyconfigurations/admissionregistration/v1"
	"k8s.io/client-go/util/cert"
)

// FieldManager owns the caBundle of every entry of the webhook configuration, and
// nothing else of it. Whoever applies the rest has another name, and leaves caBundle
// out; it must never give up an entry while this one owns a field in it, or the entry
// stays behind with a caBundle and nothing else.
const FieldManager = "ebbtide-placement-certificate"

// readEntries returns the webhooks of a configuration.
func readEntries(configuration *admissionv1.MutatingWebhookConfiguration) []entry {
	entries := make([]entry, 0, len(configuration.Webhooks))
	for i := range configuration.Webhooks {
		webhook := &configuration.Webhooks[i]
		entries = append(entries, readEntry(webhook.Name, webhook.ClientConfig.CABundle))
	}
	return entries
}

// change writes the Secret's next step. That the Secret is still the one that was
// looked at decides which of the replicas takes it.
func (k *Keeper) change(ctx context.Context, secret *corev1.Secret, s step, now time.Time) error {
	data, err := k.rules.write(s.change, secret.Data, s.held, now)
	if err != nil {
		return fmt.Errorf("changing Secret %q: %w", k.secretName, err)
	}
	changed := secret.DeepCopy()
	changed.Data = data
	changed, err = k.secrets.Update(ctx, changed, metav1.UpdateOptions{FieldManager: FieldManager})
	if err := k.account(secretObject, err); err != nil {
		return fmt.Errorf("writing Secret %q: %w", k.secretName, err)
	}
	if err == nil {
		k.secret.learn(changed, false)
		k.metrics.changes.WithLabelValues(string(s.change)).Inc()
		k.logger.InfoContext(ctx, "Secret was changed", "secret", k.secretName, "change", s.change,
			"problem", cmp.Or(s.held.authorityErr, s.held.servingErr))
	}
	return nil
}

// publish writes the caBundle of every entry, on the version of the configuration
// that was looked at.
func (k *Keeper) publish(ctx context.Context, secret *corev1.Secret, configuration *admissionv1.MutatingWebhookConfiguration, p publication) error {
	if p.removes {
		// The configuration was read before this, and the write below fails if it has
		// changed since: what the Secret does not ask for now, nobody can have begun to
		// serve by way of this caBundle.
		fresh, err := k.secrets.Get(ctx, k.secretName, metav1.GetOptions{})
		if err != nil {
			return fmt.Errorf("reading Secret %q: %w", k.secretName, err)
		}
		if secret == nil || fresh.ResourceVersion != secret.ResourceVersion {
			k.secret.learn(fresh, false)
			return nil // Decided again, on this one.
		}
	}
	bundle, err := cert.EncodeCertificates(p.bundle...)
	if err != nil {
		return fmt.Errorf("encoding the caBundle: %w", err)
	}
	apply := applyadmission.MutatingWebhookConfiguration(k.configName).WithResourceVersion(configuration.ResourceVersion)
	for i := range configuration.Webhooks {
		apply.WithWebhooks(applyadmission.MutatingWebhook().WithName(configuration.Webhooks[i].Name).
			WithClientConfig(applyadmission.WebhookClientConfig().WithCABundle(bundle...)))
	}
	// By force: a caBundle that somebody edited is put right.
	applied, err := k.configurations.Apply(ctx, apply, metav1.ApplyOptions{FieldManager: FieldManager, Force: true})
	if err := k.account(configurationObject, err); err != nil {
		return fmt.Errorf("publishing CAs in webhook configuration %q: %w", k.configName, err)
	}
	if err == nil {
		k.configuration.learn(applied, false)
		k.logger.InfoContext(ctx, "CAs were published", "configuration", k.configName, "cas", len(p.bundle), "removes", p.removes)
	}
	return nil
}

// account counts what became of a write. A conflict is no error: somebody else was
// faster, and the watch brings what they wrote.
func (k *Keeper) account(object string, err error) error {
	count := func(o outcome) { k.metrics.writes.WithLabelValues(object, string(o)).Inc() }
	switch {
	case err == nil:
		count(written)
	case apierrors.IsConflict(err):
		count(conflict)
		return nil
	default:
		count(failed)
	}
	return err
}
