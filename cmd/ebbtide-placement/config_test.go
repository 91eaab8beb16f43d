package main

import (
	"bytes"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/ebbtide/ebbtide/cmd/internal/settings"
	"github.com/ebbtide/ebbtide/cmd/internal/settings/settingstest"
	"github.com/ebbtide/ebbtide/placement"
	"github.com/ebbtide/ebbtide/placement/certificate"
)

const (
	missingNamespace = "namespace: is missing: set --namespace, or $POD_NAMESPACE from the field metadata.namespace of the pod"
	knownFields      = "unknown field, known here: admissionPolicy, audit, certificate, crds, instance, kubeconfig, lifecycle, listen, log, mode, namespace, webhook"
)

func TestABadConfigurationIsOneLineThatNamesFieldAndPlace(t *testing.T) {
	t.Parallel()
	goodURL := ": it is an address such as https://192.0.2.7:10250"
	pod := environment{namespace: "ebbtide", name: "replica-1"}
	cases := map[string]struct {
		file string
		args []string
		env  environment
		want string
	}{
		"an unknown field is named with those that are known": {
			file: "webhok: {}\n", env: pod,
			want: "placement.yaml:1: webhok: " + knownFields,
		},
		"an unknown field of a group too": {
			file: "lifecycle:\n  spotLabel: [a]\n", env: pod,
			want: "placement.yaml:2: lifecycle.spotLabel: unknown field, known here: builtIn, spotLabels",
		},
		"a mode that there is not": {
			file: "mode: Proxy", env: pod,
			want: `placement.yaml:1: mode: "Proxy" is not one of Webhook, AdmissionPolicy`,
		},
		"a mode is written as it is": {
			file: "certificate: {mode: own}", env: pod,
			want: `placement.yaml:1: certificate.mode: "own" is not one of Own, Given, CertManager`,
		},
		"a namespace that is missing": {env: environment{name: "replica-1"}, want: missingNamespace},
		"a namespace that cannot be one": {
			env:  environment{namespace: "Ebb_tide", name: "replica-1"},
			want: `$POD_NAMESPACE: namespace: "Ebb_tide" is not the name of a namespace: at most 63 lower-case letters, digits and '-'`,
		},
		"an instance that no Event can name": {
			env:  environment{namespace: "ebbtide", name: strings.Repeat("x", 129)},
			want: `$POD_NAME: instance: "` + strings.Repeat("x", 129) + `" is longer than 128 bytes, which no Event can name`,
		},
		"a Service that cannot be one": {
			file: "webhook: {service: ebbtide.placement}", env: pod,
			want: `placement.yaml:1: webhook.service: "ebbtide.placement" is not the name of a Service: at most 63 lower-case letters, digits and '-'`,
		},
		"names of objects that cannot be ones": {
			file: "webhook: {configuration: A}\nadmissionPolicy: {name: B}\ncertificate: {secret: C_}\naudit: {lease: ''}\n", env: pod,
			want: `placement.yaml:1: webhook.configuration: "A" is not the name of an object: lower-case letters, digits, '-' and '.'; ` +
				`placement.yaml:2: admissionPolicy.name: "B" is not the name of an object: lower-case letters, digits, '-' and '.'; ` +
				`placement.yaml:3: certificate.secret: "C_" is not the name of an object: lower-case letters, digits, '-' and '.'; ` +
				`placement.yaml:4: audit.lease: "" is not the name of an object: lower-case letters, digits, '-' and '.'`,
		},
		"a time to sweep after that a rescue may take": {
			file: "audit: {sweepAfter: 9m}", env: pod,
			want: "placement.yaml:1: audit.sweepAfter: 9m0s is not between 10m0s and 24h0m0s",
		},
		"a port beyond the last": {
			file: "webhook: {servicePort: 65536}", env: pod,
			want: "placement.yaml:1: webhook.servicePort: 65536 is not between 1 and 65535",
		},
		"an address to listen on without port": {
			file: "webhook: {listen: localhost}", env: pod,
			want: `placement.yaml:1: webhook.listen: "localhost" is not an address to listen on, such as :10250 or 127.0.0.1:10250`,
		},
		"reviews and metrics on one port": {
			args: []string{"--webhook-listen=127.0.0.1:9809"}, env: pod,
			want: `--webhook-listen: webhook.listen: "127.0.0.1:9809" is taken by listen, for metrics and health`,
		},
		"a linger that a pod does not live": {
			file: "webhook: {linger: 61s}", env: pod,
			want: "placement.yaml:1: webhook.linger: 1m1s is not between 0s and 1m0s",
		},
		"a URL without TLS":     {file: "webhook: {url: 'http://h:1'}", env: pod, want: `placement.yaml:1: webhook.url: "http://h:1" does not begin with https://` + goodURL},
		"a URL that is none":    {file: "webhook: {url: '127.0.0.1:10250'}", env: pod, want: `placement.yaml:1: webhook.url: "127.0.0.1:10250" cannot be read` + goodURL},
		"a URL with a path":     {file: "webhook: {url: 'https://h:1/pods'}", env: pod, want: `placement.yaml:1: webhook.url: "https://h:1/pods" has a path, and the path is the program's own` + goodURL},
		"a URL with a question": {file: "webhook: {url: 'https://h:1?'}", env: pod, want: `placement.yaml:1: webhook.url: "https://h:1?" is more than a host and a port` + goodURL},
		"a URL with a user":     {file: "webhook: {url: 'https://u@h:1'}", env: pod, want: `placement.yaml:1: webhook.url: "https://u@h:1" is more than a host and a port` + goodURL},
		"a URL with a fragment": {file: "webhook: {url: 'https://h:1#'}", env: pod, want: `placement.yaml:1: webhook.url: "https://h:1#" is more than a host and a port` + goodURL},
		"a URL without host":    {file: "webhook: {url: 'https://:1'}", env: pod, want: `placement.yaml:1: webhook.url: "https://:1" names no host` + goodURL},
		"a URL whose host no certificate can name": {
			file: "webhook: {url: 'https://höst:1'}", env: pod,
			want: `placement.yaml:1: webhook.url: "https://höst:1" names no host` + goodURL,
		},
		"a URL with a port that cannot be called": {
			file: "webhook: {url: 'https://h:65536'}", env: pod,
			want: `placement.yaml:1: webhook.url: "https://h:65536" names no port that can be called` + goodURL,
		},
		"a URL with port 0":      {file: "webhook: {url: 'https://h:0'}", env: pod, want: `placement.yaml:1: webhook.url: "https://h:0" names no port that can be called` + goodURL},
		"a URL with half a port": {file: "webhook: {url: 'https://h:'}", env: pod, want: `placement.yaml:1: webhook.url: "https://h:" names no port that can be called` + goodURL},
		"certificates that would expire in use are a mistake of the group": {
			file: "certificate:\n  serving: 336h\n  rotateServing: 400h\n  rotateAuthority: 2160h\n", env: pod,
			want: "placement.yaml:1: certificate: a serving certificate has to be signed anew within its life; " +
				"placement.yaml:1: certificate: a CA has to outlive its replacement's announcement by the time to settle and a serving certificate's life",
		},
		"a period that was not read is not judged with the others": {
			file: "certificate:\n  serving: 14d\n  rotateServing: 400h\n", env: pod,
			want: `placement.yaml:2: certificate.serving: "14d" is not a duration such as 12s`,
		},
		"a time to settle of nothing": {
			file: "certificate: {settle: 0s}", env: pod,
			want: "placement.yaml:1: certificate.settle: 0s is not between 1ms and 87600h0m0s",
		},
		"periods whose sum overflows": {
			file: "certificate: {authority: 2500000h, rotateAuthority: 2500000h}", env: pod,
			want: "placement.yaml:1: certificate.authority: 2500000h0m0s is not between 1ms and 87600h0m0s; " +
				"placement.yaml:1: certificate.rotateAuthority: 2500000h0m0s is not between 1ms and 87600h0m0s",
		},
		"a spot label that no node can have is found on its line": {
			file: "lifecycle:\n  spotLabels:\n  - dedicated=spot\n  - a b\n  - spot=yes/no\n", env: pod,
			want: "placement.yaml:4: lifecycle.spotLabels[1]: " + markProblem("a b") +
				"; placement.yaml:5: lifecycle.spotLabels[2]: " + markProblem("spot", "yes/no"),
		},
		"a spot label that is no text": {
			file: "lifecycle:\n  spotLabels:\n  - true\n  - a b\n", env: pod,
			want: "placement.yaml:3: lifecycle.spotLabels[0]: true is not text: put it in quotes; " +
				"placement.yaml:4: lifecycle.spotLabels[1]: " + markProblem("a b"),
		},
		"a spot label outside of a list": {
			file: "lifecycle: {spotLabels: spot=true}", env: pod,
			want: "placement.yaml:1: lifecycle.spotLabels: is not a list: put a dash before each element, or brackets around them",
		},
		"nothing that means spot": {
			file: "listen: :1\nlifecycle:\n  builtIn: false\n", env: pod,
			want: "placement.yaml:2: lifecycle: without builtIn and spotLabels every node would count as long-lived",
		},
		"nothing that means spot, since it was not read": {
			file: "lifecycle: {builtIn: false, spotLabels: spot}", env: pod,
			want: "placement.yaml:1: lifecycle.spotLabels: is not a list: put a dash before each element, or brackets around them",
		},
		"an argument that is no flag": {args: []string{"explian"}, env: pod, want: `"explian" is not a flag, and nothing after it was read`},
		"all mistakes come at once": {
			file: "mode: Both\nwebhook:\n  linger: soon\n",
			args: []string{"--log-level=loud", "--listen=here"}, env: environment{name: "replica-1"},
			want: `placement.yaml:3: webhook.linger: "soon" is not a duration such as 12s; ` +
				`placement.yaml:1: mode: "Both" is not one of Webhook, AdmissionPolicy; ` + missingNamespace + "; " +
				`--listen: listen: "here" is not an address to listen on, such as :9809 or 127.0.0.1:9809; ` +
				`--log-level: log.level: "loud" is not one of debug, info, warn, error`,
		},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			path := writeFile(t, c.file)
			var stdout, stderr bytes.Buffer
			_, code, done := parse(append([]string{"--check-config", "--config", path}, c.args...), c.env.get, &stdout, &stderr)
			if code != 2 || !done || stdout.Len() > 0 {
				t.Errorf("exit %d, done %t, stdout %q; want exit 2", code, done, stdout.String())
			}
			got := strings.ReplaceAll(stderr.String(), path, "placement.yaml")
			if diff := cmp.Diff("ebbtide-placement: "+c.want+"\n", got); diff != "" {
				t.Errorf("on stderr (-want +got):\n%s", diff)
			}
		})
	}
}

// markProblem is what the rules say of a mark.
func markProblem(key string, values ...string) string {
	_, err := placement.NewRules(placement.SpotMark{Key: key, Values: values})
	return err.Error()
}

func TestWhatMayLookWrongIsTaken(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{
		"a URL with an IPv6 address":                   "webhook: {url: 'https://[2001:db8::1]:10250'}",
		"a URL with the port that https has":           "webhook: {url: 'https://Placement.example.com'}",
		"a URL with a slash at its end":                "webhook: {url: 'https://h:1/'}",
		"no linger":                                    "webhook: {linger: 0s}",
		"any free port for both":                       "webhook: {listen: ':0'}\nlisten: ':0'",
		"one port on two addresses":                    "webhook: {listen: '127.0.0.1:1'}\nlisten: '127.0.0.2:1'",
		"one port where only one is listened on":       "mode: AdmissionPolicy\nwebhook: {listen: ':1'}\nlisten: ':1'",
		"labels of the user's own and no other":        "lifecycle: {builtIn: false, spotLabels: [spot]}",
		"a label that means spot when it has no value": "lifecycle: {spotLabels: ['spot=']}",
		"a label twice":                                "lifecycle: {spotLabels: [a=b, a=b]}",
		"certificates for a test, of seconds":          "certificate: {authority: 1m, rotateAuthority: 10s, serving: 10s, rotateServing: 5s, settle: 100ms}",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stdout, stderr bytes.Buffer
			args := []string{"--config", writeFile(t, file), "--namespace", "ebbtide"}
			if _, _, done := parse(args, environment{}.get, &stdout, &stderr); done {
				t.Errorf("ended: %s", stderr.String())
			}
		})
	}
}

// full has another value than the default in every field.
var full = Config{
	Mode: "Other", Namespace: "ebbtide", Instance: "replica-1",
	Webhook: Serving{
		Listen: "127.0.0.1:0", Configuration: "a", Service: "b", ServicePort: 8443,
		URL: "https://127.0.0.1:10250", Linger: 0,
	},
	AdmissionPolicy: AdmissionObject{Name: "c"},
	Certificate: Certificate{
		Mode: "Given", Secret: "d", Authority: 5 * time.Hour, RotateAuthority: 2 * time.Hour,
		Serving: 90 * time.Minute, RotateServing: time.Hour, Settle: 1500 * time.Millisecond,
	},
	Lifecycle:  Lifecycle{BuiltIn: false, SpotLabels: []string{"a=b", "c"}},
	Audit:      Audit{Lease: "e"},
	Listen:     "127.0.0.1:1",
	Log:        settings.Log{Level: "debug", Format: "text"},
	Kubeconfig: "/etc/kubeconfig",
}

func TestEveryFieldOfConfigCanBeSetInTheFileAndNoOther(t *testing.T) {
	t.Parallel()
	got, err := Load(writeFile(t, full.file()))
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(full, got); diff != "" {
		t.Errorf("a written configuration reads back as another (-want +got):\n%s", diff)
	}
	var tree map[string]any
	if err := yaml.Unmarshal([]byte(full.file()), &tree); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(settingstest.Leaves("", tree), slices.Sorted(maps.Keys(new(Config).fields()))); diff != "" {
		t.Errorf("fields of Config and of its reader (-Config +reader):\n%s", diff)
	}
}

func TestTheDefaultNeedsNothingButANamespace(t *testing.T) {
	t.Parallel()
	config := Default()
	config.Namespace, config.Instance = "ebbtide", "replica-1"
	if err := config.Validate(); err != nil {
		t.Error(err)
	}
	if diff := cmp.Diff(certificate.DefaultPeriods(), config.Periods()); diff != "" {
		t.Errorf("periods (-want +got):\n%s", diff)
	}
}

// environment is what a pod is told by its template; the zero value is nothing.
type environment struct{ namespace, name string }

func (e environment) get(key string) string {
	return map[string]string{"POD_NAMESPACE": e.namespace, "POD_NAME": e.name}[key]
}

func writeFile(t *testing.T, content string) string {
	t.Helper()
	return settingstest.Write(t, "placement.yaml", content)
}
