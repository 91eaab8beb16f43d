package main

import (
	"fmt"
	"io"
	"os"
	"strings"

	"github.com/ebbtide/ebbtide/cmd/internal/process"
	"github.com/ebbtide/ebbtide/cmd/internal/settings"
)

const usage = `ebbtide-placement puts the pods that everything leans on onto long-lived nodes, and finds those that are not on one.

Usage:
  ebbtide-placement [flags]
  ebbtide-placement explain -f FILE [flags]

PlacementPolicies say which pods. In a cluster a Deployment runs two replicas, and tells each its namespace and its name:

  env:
    - name: POD_NAMESPACE
      valueFrom: {fieldRef: {fieldPath: metadata.namespace}}
    - name: POD_NAME
      valueFrom: {fieldRef: {fieldPath: metadata.name}}

By hand, what would be decided about the pods of a manifest, and why (it changes nothing; explain --help says more):

  ebbtide-placement explain -f deployment.yaml

By hand, on a machine that the API server can call, here 192.0.2.7 (it places the pods of the whole cluster):

  kubectl apply -f charts/ebbtide/crds
  kubectl create namespace ebbtide
  kubectl create secret generic %[7]s --namespace ebbtide
  echo 'webhook: {url: "https://192.0.2.7:10250"}' > placement.yaml
  ebbtide-placement --config placement.yaml --namespace ebbtide --kubeconfig ~/.kube/config --log-format text

When it has ended for good, so that nobody is asked in vain about each pod:

  kubectl delete mutatingwebhookconfiguration %[9]s

Flags (each wins over the file):
  --config FILE             a YAML file; without one every field has its default
  --kubeconfig FILE         how to reach the API server (default: the pod's service account)
  --namespace NAME          where the Service, the Secret and the Lease are (default: $POD_NAMESPACE, which wins over the file too)
  --listen ADDRESS          where to serve /metrics, /healthz and /readyz (default %[1]s)
  --webhook-listen ADDRESS  where to serve reviews to the API server (default %[2]s)
  --log-level LEVEL         %[3]s (default %[4]s)
  --log-format FORMAT       %[5]s (default %[6]s)
  --check-config            say everything that is wrong with flags and file, or print what is in force, and end
  --version                 print the version, and end
  --help                    print this page, and end

The file, with every field and its default:

%[8]s
mode: with Webhook the API server asks this program about each pod; with AdmissionPolicy it evaluates the policies by itself.
instance: this replica's name. $POD_NAME wins over the file; without either it is the name of the host.
webhook.url: instead of the Service, an address such as https://192.0.2.7:10250, for a program outside of the cluster.
certificate.mode: Own makes and rotates a certificate in the Secret; Given serves the one that you keep there; CertManager serves
  the one that cert-manager keeps there, and leaves the caBundle to it. The times but settle are for Own.
audit.sweepAfter: when no agent of a node has been Ready for so long, what a drain has left there is taken back; 0 leaves it.
lifecycle.spotLabels: labels of your own nodes that mean spot, "key=value", or "key" for any value.

Exit code: 0 after a clean stop, 1 when the program could not go on, 2 for a mistake in flags or file.
`

// parse turns the command line, the environment and the file into a Config. If done
// is true there is nothing to run: what was asked for, or what is wrong, has been
// printed, and the process should end with code.
func parse(args []string, getenv func(string) string, stdout, stderr io.Writer) (config Config, code int, done bool) {
	config = Default()
	code, done = program(&config).Parse(args, getenv, stdout, stderr)
	return config, code, done
}

// program says what sets the fields of config.
func program(config *Config) settings.Program {
	return settings.Program{
		Name: "ebbtide-placement", Version: process.Build(), Usage: usageText(),
		Config: config, Fields: config.fields(),
		Variables: []settings.Override{
			{Name: "POD_NAMESPACE", Field: "namespace", Target: &config.Namespace},
			{Name: "POD_NAME", Field: "instance", Target: &config.Instance},
			{Name: "POD_IMAGE", Field: "admissionPolicy.image", Target: &config.AdmissionPolicy.Image},
		},
		Flags: []settings.Override{
			{Name: "kubeconfig", Field: "kubeconfig", Target: &config.Kubeconfig},
			{Name: "namespace", Field: "namespace", Target: &config.Namespace},
			{Name: "listen", Field: "listen", Target: &config.Listen},
			{Name: "webhook-listen", Field: "webhook.listen", Target: &config.Webhook.Listen},
			{Name: "log-level", Field: "log.level", Target: &config.Log.Level},
			{Name: "log-format", Field: "log.format", Target: &config.Log.Format},
		},
		Validate: func() error {
			if config.Instance == "" {
				// A host without a name is a mistake that Validate finds.
				config.Instance, _ = os.Hostname()
			}
			return config.Validate()
		},
	}
}

func usageText() string {
	config := Default()
	return fmt.Sprintf(usage, config.Listen, config.Webhook.Listen,
		strings.Join(settings.LogLevels, ", "), config.Log.Level,
		strings.Join(settings.LogFormats, " or "), config.Log.Format,
		config.Certificate.Secret, settings.Indented(config.file()), config.Webhook.Configuration)
}
