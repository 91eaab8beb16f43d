package main

import (
	"net/url"
	"strings"
	"time"

	admissionregistrationv1 "k8s.io/api/admissionregistration/v1"

	"github.com/ebbtide/ebbtide/cmd/internal/settings"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/certificate"
	"github.com/ebbtide/ebbtide/placement/webhook"
)

// Config is everything that can be said to the program. The file is YAML with these
// fields and no others; what it leaves out keeps the value of Default.
type Config struct {
	// Mode is what places the pods; one of Modes.
	Mode string `yaml:"mode"`
	// Namespace is where the program's own Service, Secret and Lease are. It has no
	// default.
	Namespace string `yaml:"namespace"`
	// Instance is the name of this replica in the election of a leader and in Events.
	// Empty in a file means the name of the host, which in a pod is the pod's.
	Instance        string          `yaml:"instance"`
	Webhook         Serving         `yaml:"webhook"`
	AdmissionPolicy AdmissionObject `yaml:"admissionPolicy"`
	Certificate     Certificate     `yaml:"certificate"`
	Lifecycle       Lifecycle       `yaml:"lifecycle"`
	Audit           Audit           `yaml:"audit"`
	CRDs            CRDs            `yaml:"crds"`
	// Listen is the address for metrics and health. Port 0 means any free port; a log
	// line says which.
	Listen string       `yaml:"listen"`
	Log    settings.Log `yaml:"log"`
	// Kubeconfig is a file that says how to reach the API server; empty means the
	// service account of the pod that the program runs in.
	Kubeconfig string `yaml:"kubeconfig"`
}

// The modes.
const (
	// Webhook: this program is asked about each pod. The default.
	Webhook = "Webhook"
	// AdmissionPolicy: the API server evaluates the policies itself, which this program
	// renders for it.
	AdmissionPolicy = "AdmissionPolicy"
)

// Serving is the webhook, in the mode Webhook.
type Serving struct {
	// Listen is the address for reviews, over TLS. Port 0 means any free port.
	Listen string `yaml:"listen"`
	// Configuration names the MutatingWebhookConfiguration that is kept.
	Configuration string `yaml:"configuration"`
	// Service and ServicePort are by what the API server calls the webhook.
	Service     string `yaml:"service"`
	ServicePort int    `yaml:"servicePort"`
	// URL, if not empty, is by what it calls the webhook instead: an address such as
	// https://192.0.2.7:10250, for a program outside of the cluster.
	URL string `yaml:"url"`
	// Linger is how long reviews are served after the program was told to stop, until
	// every API server knows.
	Linger time.Duration `yaml:"linger"`
}

// AdmissionObject is what is rendered, in the mode AdmissionPolicy.
type AdmissionObject struct {
	// Name is that of the MutatingAdmissionPolicy and of its binding.
	Name string `yaml:"name"`
	// Image is what the pods ask for that the policy is tried out with. None is ever run;
	// but a cluster may refuse a pod by its image. Empty means a public one.
	Image string `yaml:"image"`
}

// Certificate is the webhook's serving certificate.
type Certificate struct {
	// Mode is where it comes from; one of CertificateModes.
	Mode string `yaml:"mode"`
	// Secret is what it lies in, and has to exist.
	Secret string `yaml:"secret"`
	// Of the others, Settle is for every mode and the rest for the mode Own; what they
	// mean is at certificate.Periods.
	Authority       time.Duration `yaml:"authority"`
	RotateAuthority time.Duration `yaml:"rotateAuthority"`
	Serving         time.Duration `yaml:"serving"`
	RotateServing   time.Duration `yaml:"rotateServing"`
	Settle          time.Duration `yaml:"settle"`
}

// Lifecycle says which nodes are spot nodes.
type Lifecycle struct {
	// BuiltIn takes the labels of every provisioner that Ebbtide knows to mean what
	// they say.
	BuiltIn bool `yaml:"builtIn"`
	// SpotLabels are labels of the user's own that mean spot: "key=value", or "key" for
	// any value.
	SpotLabels []string `yaml:"spotLabels"`
}

// Audit is how the pods that are there already are looked at.
type Audit struct {
	// Lease is the Lease by which the replicas elect the one that acts.
	Lease string `yaml:"lease"`
	// SweepAfter is how long a node is left with what a drain has left there while no
	// agent of it is Ready, before that one takes it back; see sweep.Judge. 0 is forever.
	SweepAfter time.Duration `yaml:"sweepAfter"`
}

// CRDs is what becomes of the CRD that Helm has installed.
type CRDs struct {
	// Upgrade replaces one that is older than the program's own; see package crd.
	Upgrade bool `yaml:"upgrade"`
}

// Default returns the configuration of an empty file.
func Default() Config {
	const name = "ebbtide-placement"
	periods := certificate.DefaultPeriods()
	return Config{
		Mode:            Webhook,
		Webhook:         Serving{Listen: ":10250", Configuration: name, Service: name, ServicePort: 443, Linger: 10 * time.Second},
		AdmissionPolicy: AdmissionObject{Name: name},
		Certificate: Certificate{ //nolint:gosec // It has the name of a Secret, and not what is in it.
			Mode: string(certificate.Own), Secret: "ebbtide-placement-certificate",
			Authority: periods.Authority, RotateAuthority: periods.RotateAuthority,
			Serving: periods.Serving, RotateServing: periods.RotateServing, Settle: periods.Settle,
		},
		Lifecycle: Lifecycle{BuiltIn: true},
		Audit:     Audit{Lease: name, SweepAfter: 15 * time.Minute},
		CRDs:      CRDs{Upgrade: true},
		Listen:    ":9809",
		Log:       settings.Log{Level: "info", Format: "json"},
	}
}

// Rules returns the rules that tell spot nodes from long-lived ones. It fails when a
// label cannot be one, and when there is none.
func (c Config) Rules() (placement.Rules, error) {
	var marks []placement.SpotMark
	if c.Lifecycle.BuiltIn {
		marks = placement.BuiltInMarks()
	}
	for _, label := range c.Lifecycle.SpotLabels {
		marks = append(marks, spotMark(label))
	}
	return placement.NewRules(marks...)
}

// spotMark reads "key=value" or "key". Whether a label can be so is not its concern.
func spotMark(label string) placement.SpotMark {
	key, value, one := strings.Cut(label, "=")
	if !one {
		return placement.SpotMark{Key: key}
	}
	return placement.SpotMark{Key: key, Values: []string{value}}
}

// Periods returns the times of a rotation.
func (c Config) Periods() certificate.Periods {
	return certificate.Periods{
		Authority: c.Certificate.Authority, RotateAuthority: c.Certificate.RotateAuthority,
		Serving: c.Certificate.Serving, RotateServing: c.Certificate.RotateServing,
		Settle: c.Certificate.Settle,
	}
}

// Names returns what has to stand on the certificate: the one name that the API server
// calls the webhook by. For a Service it is never longer than this, whatever the
// cluster's domain: https://kubernetes.io/docs/reference/access-authn-authz/extensible-admission-controllers/#service-reference
// A given certificate with more names is as good.
func (c Config) Names() []string {
	if address, err := url.Parse(c.Webhook.URL); err == nil && address.Host != "" {
		return []string{address.Hostname()}
	}
	return []string{c.Webhook.Service + "." + c.Namespace + ".svc"}
}

// Client returns how the API server reaches the webhook, with every field set that has
// a default, so that what is written compares with what is read back. The caBundle is
// not part of it: it belongs to whoever keeps the certificate.
func (c Config) Client() admissionregistrationv1.WebhookClientConfig {
	if c.Webhook.URL != "" {
		return admissionregistrationv1.WebhookClientConfig{URL: new(strings.TrimSuffix(c.Webhook.URL, "/") + webhook.Path)}
	}
	return admissionregistrationv1.WebhookClientConfig{Service: &admissionregistrationv1.ServiceReference{
		Namespace: c.Namespace, Name: c.Webhook.Service, Path: new(webhook.Path),
		Port: new(int32(c.Webhook.ServicePort)), //nolint:gosec // Validate holds it to the range of a port.
	}}
}
