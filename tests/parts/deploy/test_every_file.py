"""Every file of deploy/ is covered by a test."""

from embedded.product import PROJECT

DEPLOY = PROJECT / "deploy"
COVERED = {
    "Caddyfile": "deploy/test_caddy.py",
    "ci": "e2e/test_ci_templates.py",
    "compose.yaml": "deploy/test_compose.py",
    "grafana": "deploy/test_prometheus.py",
    "helm": "deploy/test_helm.py",
    "image": "deploy/test_image.py",
    "nginx.conf": "deploy/test_nginx.py",
    "pgbouncer.ini": "e2e/test_pgbouncer.py",
    "prometheus": "deploy/test_prometheus.py",
    "systemd": "deploy/test_systemd.py",
}


def test_every_file_has_a_test() -> None:
    for path in DEPLOY.iterdir():
        assert path.name in COVERED, f"deploy/{path.name} has no test"
        assert (PROJECT / "tests" / COVERED[path.name]).exists()
