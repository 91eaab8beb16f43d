//go:build linux

package nodes

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"net/url"
	"strings"
	"time"

	"github.com/ebbtide/ebbtide/agent/aws/awstest"
)

// control is where this process tells the node's metadata service what to say. The
// service itself can only be reached on the node.
func (n *Node) control() string { return netip.AddrPortFrom(n.Address(), controlPort).String() }

// describe lets the metadata service speak of this machine.
func (n *Node) describe(ctx context.Context) error {
	items := map[string]string{"instance-id": n.InstanceID(), "placement/availability-zone": zone, "local-ipv4": n.Address().String()}
	for path, value := range items {
		if _, err := n.ask(ctx, http.MethodPut, "/item/"+path, strings.NewReader(value)); err != nil {
			return err
		}
	}
	return nil
}

// Interrupt lets the node's metadata service announce that the machine is terminated
// when notice is over. The machine stays until [Node.Die].
func (n *Node) Interrupt(ctx context.Context, notice time.Duration) error {
	query := url.Values{"action": {"terminate"}, "notice": {notice.String()}}
	_, err := n.ask(ctx, http.MethodPost, "/interrupt?"+query.Encode(), http.NoBody)
	return err
}

// Reclaim does what a cloud does that wants a spot machine back: it announces the
// end and takes the machine away when notice is over, whatever runs on it then. It
// returns at once; wait for [Node.Gone].
func (n *Node) Reclaim(ctx context.Context, notice time.Duration) error {
	end := time.NewTimer(notice)
	if err := n.Interrupt(ctx, notice); err != nil {
		end.Stop()
		return err
	}
	go func() {
		defer end.Stop()
		select {
		case <-end.C:
			_ = n.Die() // Close tells how it went
		case <-n.gone:
		}
	}()
	return nil
}

// Metadata says what the node's metadata service says at present and what it was asked.
func (n *Node) Metadata(ctx context.Context) (awstest.Status, error) {
	var status awstest.Status
	content, err := n.ask(ctx, http.MethodGet, "/status", http.NoBody)
	if err != nil {
		return status, err
	}
	if err := json.Unmarshal(content, &status); err != nil {
		return status, fmt.Errorf("decoding the metadata service's status: %w", err)
	}
	return status, nil
}

// Fault lets the node's metadata service misbehave until it is given another fault; an
// empty one ends it.
func (n *Node) Fault(ctx context.Context, fault awstest.Fault) error {
	method, path := http.MethodPut, "/fault/"+string(fault)
	if fault == "" {
		method, path = http.MethodDelete, "/fault"
	}
	_, err := n.ask(ctx, method, path, http.NoBody)
	return err
}

func (n *Node) ask(ctx context.Context, method, path string, body io.Reader) ([]byte, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+n.control()+path, body)
	if err != nil {
		return nil, fmt.Errorf("asking the metadata service of %q: %w", n.Name, err)
	}
	client := &http.Client{Timeout: 5 * time.Second, Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, fmt.Errorf("asking the metadata service of %q: %w", n.Name, err)
	}
	defer func() { _ = response.Body.Close() }()
	content, err := io.ReadAll(io.LimitReader(response.Body, 1<<20))
	if err == nil && response.StatusCode != http.StatusOK {
		err = fmt.Errorf("status %d: %s", response.StatusCode, lastLine(content))
	}
	if err != nil {
		return nil, fmt.Errorf("asking the metadata service of %q: %s %q: %w", n.Name, method, path, err)
	}
	return content, nil
}
