"""Every file of deploy/ is covered by a test."""

from embedded.product import PROJECT

DEPLOY = PROJECT / "deploy"
COVERED = {
    "Caddyfile": "parts/deploy/test_caddy.py",
    "ci": "parts/product/test_ci_templates.py",
    "compose.yaml": "parts/deploy/test_compose.py",
    "grafana": "parts/deploy/test_prometheus.py",
    "helm": "parts/deploy/test_helm.py",
    "image": "parts/deploy/test_image.py",
    "nginx.conf": "parts/deploy/test_nginx.py",
    "pgbouncer.ini": "parts/product/test_pgbouncer.py",
    "prometheus": "parts/deploy/test_prometheus.py",
    "systemd": "parts/deploy/test_systemd.py",
}


def test_every_file_has_a_test() -> None:
    for path in DEPLOY.iterdir():
        assert path.name in COVERED, f"deploy/{path.name} has no test"
        assert (PROJECT / "tests" / COVERED[path.name]).exists()
