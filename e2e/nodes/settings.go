//go:build linux

package nodes

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
)

// What a machine finds on its disk: its settings, which are its own, and programs and
// images, which it shares with the others.
const (
	settingsFolder = "/srv/settings"
	programsFolder = "/srv/programs"
	kubeFolder     = "/srv/kube"
	imagesFolder   = "/srv/images"
)

const containerdSocket = "/run/containerd/containerd.sock"

// containerdSettings: an oom_score_adj below the parent's needs a capability that root
// may lack in a virtual machine or a container, and runc dies without it. A profile of
// AppArmor would stay in the outer machine's kernel.
const containerdSettings = `version = 2
[plugins."io.containerd.grpc.v1.cri"]
  disable_apparmor = true
  restrict_oom_score_adj = true
  sandbox_image = %q
  [plugins."io.containerd.grpc.v1.cri".cni]
    bin_dir = %q
    conf_dir = "/srv/settings/cni"
  [plugins."io.containerd.grpc.v1.cri".containerd]
    snapshotter = %q
`

// networkSettings: hairpinMode lets a pod reach itself through its Service.
const networkSettings = `{
  "cniVersion": "0.4.0",
  "name": "pods",
  "plugins": [{
    "type": "bridge", "bridge": "pods0", "isGateway": true, "ipMasq": false, "hairpinMode": true,
    "ipam": {"type": "host-local", "ranges": [[{"subnet": %q}]], "routes": [{"dst": "0.0.0.0/0"}]}
  }]
}
`

// kubeletSettings: nobody but this cluster can reach a kubelet, so it asks for no
// credentials. A machine that builds and tests is often short of space, which is not to
// be taken for a node's own distress. Logs are not rotated: they are the tests' evidence.
const kubeletSettings = `apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
address: 0.0.0.0
authentication: {anonymous: {enabled: true}, webhook: {enabled: false}}
authorization: {mode: AlwaysAllow}
cgroupDriver: cgroupfs
cgroupRoot: /%s
clusterDNS: [%s]
clusterDomain: cluster.local
containerLogMaxSize: 1Gi
containerRuntimeEndpoint: unix://` + containerdSocket + `
enforceNodeAllocatable: []
evictionHard: {memory.available: 100Mi, nodefs.available: 1%%, imagefs.available: 1%%}
failCgroupV1: false
failSwapOn: false
imageGCHighThresholdPercent: 100
providerID: %s
resolvConf: ""
`

// proxySettings: the limits of connection tracking are the outer machine's.
const proxySettings = `apiVersion: kubeproxy.config.k8s.io/v1alpha1
kind: KubeProxyConfiguration
mode: iptables
clientConnection: {kubeconfig: /srv/settings/kube-proxy.kubeconfig}
clusterCIDR: ` + clusterRange + `
conntrack: {maxPerCore: 0, min: 0}
hostnameOverride: %s
`

// settings returns the contents of a node's settings, by file name.
func (n *Node) settings(plugins, snapshotter string, kubelet, proxy []byte) map[string][]byte {
	return map[string][]byte{
		"containerd.toml":       fmt.Appendf(nil, containerdSettings, pauseImage, plugins, snapshotter),
		"cni/10-pods.conflist":  fmt.Appendf(nil, networkSettings, podRange(n.host)),
		"kubelet.yaml":          fmt.Appendf(nil, kubeletSettings, n.group, dnsAddress, n.providerID()),
		"kubelet.kubeconfig":    kubelet,
		"kube-proxy.yaml":       fmt.Appendf(nil, proxySettings, n.Name),
		"kube-proxy.kubeconfig": proxy,
	}
}

func writeSettings(folder string, files map[string][]byte) error {
	for name, content := range files {
		path := filepath.Join(folder, name)
		err := os.MkdirAll(filepath.Dir(path), 0o750)
		if err == nil {
			err = os.WriteFile(path, content, 0o600)
		}
		if err != nil {
			return fmt.Errorf("writing settings: %w", err)
		}
	}
	return nil
}

// writeKubeconfig writes a configuration out with all it refers to: the files that the given
// one names are not on the node's disk.
func writeKubeconfig(user *rest.Config) ([]byte, error) {
	roots, err := os.ReadFile(user.CAFile)
	if err != nil {
		return nil, fmt.Errorf("reading the API server's certificate: %w", err)
	}
	config := clientcmdapi.NewConfig()
	config.Clusters["nodes"] = &clientcmdapi.Cluster{Server: user.Host, CertificateAuthorityData: roots}
	config.AuthInfos["node"] = &clientcmdapi.AuthInfo{Token: user.BearerToken}
	config.Contexts["nodes"] = &clientcmdapi.Context{Cluster: "nodes", AuthInfo: "node"}
	config.CurrentContext = "nodes"
	content, err := clientcmd.Write(*config)
	if err != nil {
		return nil, fmt.Errorf("writing kubeconfig: %w", err)
	}
	return content, nil
}

// pluginFolder is where this machine has its CNI plugins.
func pluginFolder() (string, error) {
	for _, folder := range pluginFolders {
		if found("/", []string{folder}, "bridge") {
			return folder, nil
		}
	}
	return "", fmt.Errorf("finding CNI plugins in %q: %w", pluginFolders, fs.ErrNotExist)
}

// snapshotter is how containerd lays the layers of an image over each other: by the
// kernel's overlay, or where there is none, which some virtual machines' kernels lack, by
// copies.
func snapshotter(filesystems string) string {
	for line := range strings.Lines(filesystems) {
		if fields := strings.Fields(line); len(fields) > 0 && fields[len(fields)-1] == "overlay" {
			return "overlayfs"
		}
	}
	return "native"
}
