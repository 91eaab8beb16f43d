package main

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"
	"time"

	"k8s.io/apimachinery/pkg/util/validation"

	"github.com/ebbtide/ebbtide/cmd/internal/settings"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/certificate"
)

// The values that a field with a closed set may have.
var (
	Modes            = []string{Webhook, AdmissionPolicy}
	CertificateModes = []string{string(certificate.Own), string(certificate.Given), string(certificate.CertManager)}
)

// The bounds of the fields that have some.
const (
	maxPort = 65535
	// An API server has learned of an endpoint that is gone within seconds; a pod that
	// is not gone after its grace, 30 s unless its template says more, is killed.
	maxLinger = time.Minute
	// As long as the CA that client-go makes. What is longer is a slip of the pen, and of
	// what is not, no sum overflows. What is less than minPeriod is as good as nothing.
	minPeriod = time.Millisecond
	maxPeriod = 10 * 365 * 24 * time.Hour
	// A rescue hands a pod over for five minutes at most, and is no leftover. A node that
	// is left closed for longer than a day might as well be so for good.
	minSweepAfter = 10 * time.Minute
	maxSweepAfter = 24 * time.Hour
	// What the API server takes as the reportingInstance of an Event, in bytes.
	maxInstance = 128
)

// Validate returns every value that the program cannot work with as settings.Errors,
// and nil if there is none. It looks at the values alone: no file is opened, nothing is
// asked. What belongs to the other mode is looked at too: a mistake there would be
// found on the day of the change.
func (c Config) Validate() error {
	var found settings.Errors
	found.Check("mode", settings.Choice(c.Mode, Modes))
	found.Check("namespace", namespaceProblem(c.Namespace))
	found.Check("instance", instanceProblem(c.Instance))
	c.checkWebhook(&found)
	found.Check("admissionPolicy.name", nameProblem(c.AdmissionPolicy.Name))
	c.checkCertificate(&found)
	c.checkLifecycle(&found)
	found.Check("audit.lease", nameProblem(c.Audit.Lease))
	if c.Audit.SweepAfter != 0 { // which switches it off
		found.Check("audit.sweepAfter", settings.Range(c.Audit.SweepAfter, minSweepAfter, maxSweepAfter))
	}
	found.Check("listen", settings.Listen(c.Listen, ":9809"))
	found.Check("log.level", settings.Choice(c.Log.Level, settings.LogLevels))
	found.Check("log.format", settings.Choice(c.Log.Format, settings.LogFormats))
	return found.OrNil()
}

func (c Config) checkWebhook(found *settings.Errors) {
	found.Check("webhook.listen", settings.Listen(c.Webhook.Listen, ":10250"))
	if c.Mode == Webhook && sameAddress(c.Webhook.Listen, c.Listen) {
		found.Check("webhook.listen", fmt.Sprintf("%q is taken by listen, for metrics and health", c.Webhook.Listen))
	}
	found.Check("webhook.configuration", nameProblem(c.Webhook.Configuration))
	found.Check("webhook.service", labelProblem(c.Webhook.Service, "the name of a Service"))
	found.Check("webhook.servicePort", settings.Range(c.Webhook.ServicePort, 1, maxPort))
	found.Check("webhook.url", urlProblem(c.Webhook.URL))
	found.Check("webhook.linger", settings.Range(c.Webhook.Linger, 0, maxLinger))
}

func (c Config) checkCertificate(found *settings.Errors) {
	found.Check("certificate.mode", settings.Choice(c.Certificate.Mode, CertificateModes))
	found.Check("certificate.secret", nameProblem(c.Certificate.Secret))
	inRange := true
	for _, period := range []struct {
		field string
		value time.Duration
	}{
		{"certificate.authority", c.Certificate.Authority},
		{"certificate.rotateAuthority", c.Certificate.RotateAuthority},
		{"certificate.serving", c.Certificate.Serving},
		{"certificate.rotateServing", c.Certificate.RotateServing},
		{"certificate.settle", c.Certificate.Settle},
	} {
		problem := settings.Range(period.value, minPeriod, maxPeriod)
		found.Check(period.field, problem)
		inRange = inRange && problem == ""
	}
	if inRange {
		for _, problem := range problemsOf(c.Periods().Validate()) {
			found.Check("certificate", problem)
		}
	}
}

func (c Config) checkLifecycle(found *settings.Errors) {
	for i, label := range c.Lifecycle.SpotLabels {
		_, err := placement.NewRules(spotMark(label))
		for _, problem := range problemsOf(err) {
			found.Check(fmt.Sprintf("lifecycle.spotLabels[%d]", i), problem)
		}
	}
	if !c.Lifecycle.BuiltIn && len(c.Lifecycle.SpotLabels) == 0 {
		found.Check("lifecycle", "without builtIn and spotLabels every node would count as long-lived")
	}
}

// sameAddress says whether only one of two can listen, as far as their texts tell.
func sameAddress(one, other string) bool {
	oneHost, onePort, err := net.SplitHostPort(one)
	if err != nil {
		return false
	}
	otherHost, otherPort, err := net.SplitHostPort(other)
	return err == nil && onePort == otherPort && onePort != "0" &&
		(oneHost == otherHost || oneHost == "" || otherHost == "")
}

// problemsOf returns what is wrong by err, one line for each error that it joins.
func problemsOf(err error) []string {
	if err == nil {
		return nil
	}
	joined, are := errors.AsType[interface {
		error
		Unwrap() []error
	}](err)
	if !are {
		return []string{err.Error()}
	}
	var problems []string
	for _, err := range joined.Unwrap() {
		problems = append(problems, err.Error())
	}
	return problems
}

func namespaceProblem(namespace string) string {
	if namespace == "" {
		return "is missing: set --namespace, or $POD_NAMESPACE from the field metadata.namespace of the pod"
	}
	return labelProblem(namespace, "the name of a namespace")
}

func instanceProblem(instance string) string {
	switch {
	case instance == "":
		return "is missing, and the host has no name: set $POD_NAME from the field metadata.name of the pod"
	case len(instance) > maxInstance:
		return fmt.Sprintf("%q is longer than %d bytes, which no Event can name", instance, maxInstance)
	}
	return ""
}

func nameProblem(name string) string {
	if len(validation.IsDNS1123Subdomain(name)) > 0 {
		return fmt.Sprintf("%q is not the name of an object: lower-case letters, digits, '-' and '.'", name)
	}
	return ""
}

func labelProblem(name, what string) string {
	if len(validation.IsDNS1123Label(name)) > 0 {
		return fmt.Sprintf("%q is not %s: at most 63 lower-case letters, digits and '-'", name, what)
	}
	return ""
}

// urlProblem holds an address to what the API server takes, and its host to what a
// certificate can name.
func urlProblem(text string) string {
	if text == "" {
		return ""
	}
	address, err := url.Parse(text)
	reason := ""
	switch {
	case err != nil:
		reason = "cannot be read"
	case address.Scheme != "https":
		reason = "does not begin with https://"
	case address.Path != "" && address.Path != "/":
		reason = "has a path, and the path is the program's own"
	case address.User != nil || address.RawQuery != "" || address.ForceQuery || address.Fragment != "" || strings.Contains(text, "#"):
		reason = "is more than a host and a port"
	case !isHost(address.Hostname()):
		reason = "names no host"
	case !isReachable(address):
		reason = "names no port that can be called"
	}
	if reason == "" {
		return ""
	}
	return fmt.Sprintf("%q %s: it is an address such as https://192.0.2.7:10250", text, reason)
}

func isHost(name string) bool {
	return net.ParseIP(name) != nil || len(validation.IsDNS1123Subdomain(strings.ToLower(name))) == 0
}

// isReachable says whether the port can be called: none stands for 443.
func isReachable(address *url.URL) bool {
	if address.Port() == "" {
		return !strings.HasSuffix(address.Host, ":")
	}
	port, err := strconv.ParseUint(address.Port(), 10, 16)
	return err == nil && port > 0
}
