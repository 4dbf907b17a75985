"""What people and programs see: tables, live views, JSON. The only place that prints, and it only
shows."""
