"""The FOCUS export against the validator of the FinOps Foundation.

    python tests/peers/focus.py EXPORT.csv

EXPORT.csv is written by `shoestring ledger export --focus --out EXPORT.csv DIR...`. Needs, in an environment of its
own (it holds numpy and pandas back): pip install focus-validator==1.0.0 "multimethod<2"

The validator knows four columns of version 1.0 by the names that they had before, and asks for a fifth that is called
ChargeCategory now; they are renamed for it, in a copy.
Then each column of the specification is checked by itself: there, of its type, null only where it may be.
"""

import csv
import datetime
import json
import os
import subprocess
import sys
import tempfile

OLD_NAMES = {
    "ProviderName": "Provider",
    "PublisherName": "Publisher",
    "InvoiceIssuerName": "InvoiceIssuer",
    "ResourceId": "ResourceID",
}
# FOCUS 1.0: column, type, whether it may be null.
COLUMNS = """
AvailabilityZone text null|BilledCost number|BillingAccountId text|BillingAccountName text null
BillingCurrency text|BillingPeriodEnd time|BillingPeriodStart time|ChargeCategory text|ChargeClass text null
ChargeDescription text null|ChargeFrequency text|ChargePeriodEnd time|ChargePeriodStart time
CommitmentDiscountCategory text null|CommitmentDiscountId text null|CommitmentDiscountName text null
CommitmentDiscountStatus text null|CommitmentDiscountType text null|ConsumedQuantity number null
ConsumedUnit text null|ContractedCost number|ContractedUnitPrice number null|EffectiveCost number
InvoiceIssuerName text|ListCost number|ListUnitPrice number null|PricingCategory text null
PricingQuantity number null|PricingUnit text null|ProviderName text|PublisherName text|RegionId text null
RegionName text null|ResourceId text null|ResourceName text null|ResourceType text null|ServiceCategory text
ServiceName text|SkuId text null|SkuPriceId text null|SubAccountId text null|SubAccountName text null|Tags json null
"""
ALLOWED = {
    "ChargeCategory": {"Usage", "Purchase", "Tax", "Credit", "Adjustment"},
    "ChargeFrequency": {"One-Time", "Recurring", "Usage-Based"},
    "PricingCategory": {"Standard", "Dynamic", "Committed", "Other", ""},
    "ChargeClass": {"Correction", ""},
}


def time_of(text):
    return datetime.datetime.strptime(text, "%Y-%m-%dT%H:%M:%SZ")


def by_column(rows):
    problems = []
    columns = [one.split() for one in COLUMNS.replace("\n", "|").split("|") if one.strip()]
    for name, kind, *null in columns:
        if name not in rows[0]:
            problems.append(f"{name} is missing")
            continue
        for number, row in enumerate(rows, 2):
            value = row[name]
            if value == "":
                if not null:
                    problems.append(f"row {number}: {name} is null")
                continue
            try:
                if kind == "number":
                    float(value)
                elif kind == "time":
                    time_of(value)
                elif kind == "json":
                    assert isinstance(json.loads(value), dict)
            except (ValueError, AssertionError):
                problems.append(f"row {number}: {name} = {value!r} is no {kind}")
            if name in ALLOWED and value not in ALLOWED[name]:
                problems.append(f"row {number}: {name} = {value!r} is not allowed")
    for name in rows[0]:
        if name not in {column[0] for column in columns} and not name.startswith("x_"):
            problems.append(f"{name} is neither of the specification nor marked as one's own (x_)")
    for number, row in enumerate(rows, 2):
        if not time_of(row["ChargePeriodStart"]) < time_of(row["ChargePeriodEnd"]):
            problems.append(f"row {number}: the charge period is empty")
        if not time_of(row["BillingPeriodStart"]) <= time_of(row["ChargePeriodStart"]) < time_of(row["BillingPeriodEnd"]):
            problems.append(f"row {number}: the charge lies outside its billing period")
        usage = row["ChargeCategory"] == "Usage"
        for name in ("ListUnitPrice", "ContractedUnitPrice", "PricingQuantity", "PricingUnit"):
            if usage and row[name] == "" and "ledger does not know" not in row["ChargeDescription"]:
                problems.append(f"row {number}: {name} of a usage row is null")
        if usage and row["PricingQuantity"] and row["ListUnitPrice"]:
            product = float(row["PricingQuantity"]) * float(row["ListUnitPrice"])
            if abs(product - float(row["ListCost"])) > 2e-6 + 1e-3 * abs(product) and row["x_Kind"] == "spend":
                problems.append(f"row {number}: {row['ListCost']} is not {product}")
    return problems


def by_validator(rows):
    import focus_validator

    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "focus.csv")
        with open(path, "w", newline="") as out:
            writer = csv.DictWriter(out, [OLD_NAMES.get(name, name) for name in rows[0]] + ["ChargeType"])
            writer.writeheader()
            for row in rows:
                renamed = {OLD_NAMES.get(name, name): value for name, value in row.items()}
                writer.writerow(renamed | {"ChargeType": row["ChargeCategory"]})
        program = os.path.join(os.path.dirname(sys.executable), "focus-validator")
        # It finds its list of currencies relative to the folder above its package.
        above = os.path.dirname(os.path.dirname(focus_validator.__file__))
        said = subprocess.run(
            [program, "--data-file", path, "--validate-version", "1.0", "--column-namespace", "x_"],
            capture_output=True, text=True, cwd=above,
        )
    return said.returncode, said.stdout + said.stderr


def main():
    with open(sys.argv[1], newline="") as file:
        rows = list(csv.DictReader(file))
    if not rows:
        sys.exit("the export has no rows")
    problems = by_column(rows)
    print(f"{len(rows)} rows, {len(rows[0])} columns; by the specification: {len(problems)} problems")
    print("\n".join(problems[:20]))
    code, said = by_validator(rows)
    failed = [line for line in said.splitlines() if "Failed" in line or "failed" in line or "Error" in line]
    passed = [line for line in said.splitlines() if "Success" in line or "success" in line]
    print(f"focus-validator 1.0.0: exit {code}, {len(passed)} lines of success, {len(failed)} of failure")
    print("\n".join(failed[:20]) if failed else said[-300:])
    sys.exit(1 if problems or failed or code else 0)


if __name__ == "__main__":
    main()
