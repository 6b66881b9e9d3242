"""What training and a deployed model cost."""

from rich.console import Console
from rich.table import Table

from automl.commands.model.terminal import confirm, print_error_line, print_line
from automl.services.service import (
    DEPLOYED_NODE_HOUR,
    HOURS_A_MONTH,
    PRICES_FROM,
    TRAINING_NODE_HOUR,
    Plan,
    Service,
)
from inspection.model_id import Backend


def confirm_cost(service: Service, plan: Plan, *, yes: bool) -> None:
    """Show what a training may cost, and ask for a confirmation unless `yes`."""
    table = Table("may cost", "unit", "at most", title=f"{plan.name}: {service.where}", title_justify="left")
    for column in table.columns[1:]:
        column.justify = "right"
    table.add_row(
        f"training, {plan.node_hours} node hours",
        f"${TRAINING_NODE_HOUR:g} an hour",
        _dollars(plan, TRAINING_NODE_HOUR),
    )
    table.add_row("deployed later, idle too", f"${DEPLOYED_NODE_HOUR:g} an hour", f"${_monthly():,.0f} a month")
    Console().print(table)
    print_line(PRICES_FROM)
    if service.backend is Backend.AUTOML and not service.is_local:
        print_error_line(
            "Google shut AutoML Vision down on 2024-03-31; its successor is --backend vertex (JSON Lines)."
        )
    if service.is_local:
        print_line("The local cloud trains on this machine, in seconds: nothing is spent.")
    confirm("Begin?", yes=yes)


def _dollars(plan: Plan, hourly: float) -> str:
    return f"${plan.node_hours * hourly:,.2f}"


def _monthly() -> float:
    return DEPLOYED_NODE_HOUR * HOURS_A_MONTH


def hourly_cost(service: Service) -> str:
    """The cost of a deployed model, as text for the user."""
    told = f"${DEPLOYED_NODE_HOUR:g} an hour while idle too, about ${_monthly():,.0f} a month ({PRICES_FROM})."
    return f"{told}\nIn the local cloud it costs nothing." if service.is_local else told
