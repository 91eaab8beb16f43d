package lab

import (
	"context"
	"crypto/rand"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"path/filepath"
	"strings"

	authenticationv1 "k8s.io/api/authentication/v1"
	corev1 "k8s.io/api/core/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/client-go/rest"
	"k8s.io/client-go/tools/clientcmd"
	clientcmdapi "k8s.io/client-go/tools/clientcmd/api"
	"k8s.io/client-go/util/cert"
	"k8s.io/client-go/util/keyutil"
)

// The lab's own users. The components have the names, and so the RBAC, of a real cluster.
const (
	adminUser       = "admin"
	nodesUser       = "lab-nodes" // all simulated nodes: they share one watch, which a user of one node may not have
	controllersUser = "system:kube-controller-manager"
	schedulerUser   = "system:kube-scheduler"
)

// serviceRange is where Services get their addresses; its first one is the API server's own.
const (
	serviceRange   = "10.96.0.0/16"
	serviceAddress = "10.96.0.1"
)

// tokenSeconds outlives any test run; a lab that runs for a day has been forgotten.
const tokenSeconds int64 = 24 * 60 * 60

// access is who may enter the control plane and with what: files in the state folder.
type access struct {
	dir         string
	server      string
	servingCert string // signed by a CA of its own, which is in the same file
	servingKey  string
	signingKey  string // of service account tokens
	tokens      string
	roots       *x509.CertPool
	byUser      map[string]string // user to bearer token
}

func newAccess(dir string, address netip.Addr, port int, users []User) (access, error) {
	addresses := []net.IP{net.IPv4(127, 0, 0, 1)}
	server := loopback(port)
	if address.IsValid() {
		// Pods know the API server by its Service, and only where nodes are real.
		addresses = append(addresses, address.AsSlice(), net.ParseIP(serviceAddress))
		server = netip.AddrPortFrom(address, uint16(port)).String() //nolint:gosec // A port of freePorts.
	}
	a := access{
		dir:         dir,
		server:      "https://" + server,
		servingCert: filepath.Join(dir, "serving.crt"),
		servingKey:  filepath.Join(dir, "serving.key"),
		signingKey:  filepath.Join(dir, "service-account.key"),
		tokens:      filepath.Join(dir, "tokens.csv"),
		roots:       x509.NewCertPool(),
		byUser:      map[string]string{},
	}
	certificate, key, err := cert.GenerateSelfSignedCertKey("127.0.0.1", addresses, []string{"localhost", "kubernetes.default.svc"})
	if err != nil {
		return a, fmt.Errorf("making serving certificate: %w", err)
	}
	a.roots.AppendCertsFromPEM(certificate)
	signing, err := keyutil.MakeEllipticPrivateKeyPEM()
	if err != nil {
		return a, fmt.Errorf("making signing key: %w", err)
	}
	var tokens strings.Builder
	own := []User{
		{Name: adminUser, Groups: []string{"system:masters"}},
		{Name: nodesUser, Groups: []string{"system:masters"}},
		{Name: controllersUser},
		{Name: schedulerUser},
	}
	for _, user := range append(own, users...) {
		a.byUser[user.Name] = rand.Text()
		fmt.Fprintf(&tokens, "%s,%s,%s,%q\n", a.byUser[user.Name], user.Name, user.Name, strings.Join(user.Groups, ","))
	}
	files := map[string][]byte{a.servingCert: certificate, a.servingKey: key, a.signingKey: signing, a.tokens: []byte(tokens.String())}
	for path, content := range files {
		if err := os.WriteFile(path, content, 0o600); err != nil {
			return a, fmt.Errorf("writing credentials: %w", err)
		}
	}
	for user, token := range a.byUser {
		if err := a.writeKubeconfig(a.kubeconfigPath(user), &clientcmdapi.AuthInfo{Token: token}); err != nil {
			return a, err
		}
	}
	return a, nil
}

// config is a user's configuration. A negative QPS switches client-go's throttle
// off: the API server's own fairness is what tests should meet.
func (a access) config(user string) *rest.Config {
	return &rest.Config{
		Host: a.server, BearerToken: a.byUser[user], UserAgent: "ebbtide-lab", QPS: -1,
		TLSClientConfig: rest.TLSClientConfig{CAFile: a.servingCert},
	}
}

func (a access) kubeconfigPath(user string) string {
	return filepath.Join(a.dir, strings.ReplaceAll(user, ":", "-")+".kubeconfig")
}

func (a access) writeKubeconfig(path string, user *clientcmdapi.AuthInfo) error {
	config := clientcmdapi.NewConfig()
	config.Clusters["lab"] = &clientcmdapi.Cluster{Server: a.server, CertificateAuthority: a.servingCert}
	config.AuthInfos["user"] = user
	config.Contexts["lab"] = &clientcmdapi.Context{Cluster: "lab", AuthInfo: "user"}
	config.CurrentContext = "lab"
	if err := clientcmd.WriteToFile(*config, path); err != nil {
		return fmt.Errorf("writing kubeconfig %q: %w", path, err)
	}
	return nil
}

// ServiceAccount creates a service account with a ClusterRole of the given rules
// (no rules: no rights), the namespace too when it does not exist, and returns the
// path of a kubeconfig with a token of it. The kubeconfig names a token file beside
// it, as in a pod, so that a test can change the token under a running program. The
// audit log knows the account as [ServiceAccountUser] says.
func (l *Lab) ServiceAccount(ctx context.Context, namespace, name string, rules []rbacv1.PolicyRule) (kubeconfig string, err error) {
	if err := l.createAccount(ctx, namespace, name, rules); err != nil {
		return "", fmt.Errorf("creating service account %q: %w", namespace+"/"+name, err)
	}
	seconds := tokenSeconds
	token, err := l.client.CoreV1().ServiceAccounts(namespace).CreateToken(ctx, name,
		&authenticationv1.TokenRequest{Spec: authenticationv1.TokenRequestSpec{ExpirationSeconds: &seconds}}, metav1.CreateOptions{})
	if err != nil {
		return "", fmt.Errorf("requesting a token for %q: %w", namespace+"/"+name, err)
	}
	base := l.path(namespace + "." + name)
	if err := os.WriteFile(base+".token", []byte(token.Status.Token), 0o600); err != nil {
		return "", fmt.Errorf("writing token: %w", err)
	}
	return base + ".kubeconfig", l.access.writeKubeconfig(base+".kubeconfig", &clientcmdapi.AuthInfo{TokenFile: base + ".token"})
}

// ServiceAccountUser returns the user name of a service account, as [Lab.Requests] takes it.
func ServiceAccountUser(namespace, name string) string {
	return "system:serviceaccount:" + namespace + ":" + name
}

func (l *Lab) createAccount(ctx context.Context, namespace, name string, rules []rbacv1.PolicyRule) error {
	options := metav1.CreateOptions{}
	_, err := l.client.CoreV1().Namespaces().Create(ctx, &corev1.Namespace{ObjectMeta: metav1.ObjectMeta{Name: namespace}}, options)
	if err != nil && !apierrors.IsAlreadyExists(err) {
		return err
	}
	meta := metav1.ObjectMeta{Name: name}
	if _, err := l.client.CoreV1().ServiceAccounts(namespace).Create(ctx, &corev1.ServiceAccount{ObjectMeta: meta}, options); err != nil {
		return err
	}
	// Cluster-scoped names carry the namespace, so that accounts of one name do not meet.
	meta.Name = "lab:" + namespace + ":" + name
	if _, err := l.client.RbacV1().ClusterRoles().Create(ctx, &rbacv1.ClusterRole{ObjectMeta: meta, Rules: rules}, options); err != nil {
		return err
	}
	_, err = l.client.RbacV1().ClusterRoleBindings().Create(ctx, &rbacv1.ClusterRoleBinding{
		ObjectMeta: meta,
		RoleRef:    rbacv1.RoleRef{APIGroup: rbacv1.GroupName, Kind: "ClusterRole", Name: meta.Name},
		Subjects:   []rbacv1.Subject{{Kind: rbacv1.ServiceAccountKind, Namespace: namespace, Name: name}},
	}, options)
	return err
}

// waitServiceAccount waits for an account that a controller makes. Until the default
// account exists, the API server refuses every pod of the namespace.
func (l *Lab) waitServiceAccount(ctx context.Context, namespace, name string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyWithin, errors.New("the controller manager did not create it"))
	defer cancel()
	err := poll(ctx, func(ctx context.Context) (bool, error) {
		_, err := l.client.CoreV1().ServiceAccounts(namespace).Get(ctx, name, metav1.GetOptions{})
		return err == nil, nil
	})
	if err != nil {
		return fmt.Errorf("waiting for service account %q: %w", namespace+"/"+name, err)
	}
	return nil
}
